"""A passkey in a real browser, from registering it to an auditor's check of what it signed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.live import Live
from traces import tool

PASSWORD = "correct horse battery staple"
WORLD = """
agents:
  - {name: porter, team: vault, mode: standard}
tools:
  - name: vault.open
    runs: agent
    effect: write
    output: trusted
    sends: internal
    authority: [door]
    target: door
    summary: "Open {door}"
    parameters: {type: object, properties: {door: {type: string}}, required: [door]}
rules:
  - {name: vaults, effect: ask, tools: [vault.open], approvers: vault, step_up: true}
"""
pytestmark = pytest.mark.e2e


@pytest.fixture
def agent(live_instance: Live, tmp_path: Path) -> Iterator[httpx.Client]:
    (world := tmp_path / "world.yaml").write_text(WORLD)
    live_instance.manage("apply", str(world))
    key = live_instance.manage("agent", "create", "porter", "--scopes", "act,attest").stdout.split()[-1]
    with httpx.Client(
        base_url=f"{live_instance.url}/api/v1", headers={"Authorization": f"Bearer {key}"}, timeout=30
    ) as client:
        yield client


@pytest.fixture
def vera(browser: Browser, live_instance: Live, agent: httpx.Client) -> Iterator[Page]:
    """Somebody of the vault with a device that keeps passkeys, signed in by her invitation."""
    made = live_instance.manage("user", "create", "vera", "--groups", "vault", "--roles", "approver,auditor")
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page, trouble = context.new_page(), []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("console", lambda said: trouble.append(said.text) if said.type == "error" else None)
    wire = context.new_cdp_session(page)
    wire.send("WebAuthn.enable")
    wire.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2", "transport": "internal", "hasResidentKey": True,
                "hasUserVerification": True, "isUserVerified": True, "automaticPresenceSimulation": True,
            }
        },
    )  # fmt: skip
    page.goto(made.stdout.split()[-1])
    page.get_by_label("The same again").fill(PASSWORD)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Begin").click()
    page.wait_for_url(re.compile(re.escape(live_instance.url) + "/"))
    yield page
    context.close()
    assert trouble == []


def propose(agent: httpx.Client, door: str) -> str:
    session = agent.post("/sessions", json={"purpose": "Doors", "user": "erin"}).json()["id"]
    body = {"session": session, "tool": "vault.open", "args": {"door": door}}
    return str(agent.post("/actions", json=body).json()["id"])


def state(agent: httpx.Client, action: str) -> str:
    return str(agent.get(f"/actions/{action}", params={"wait": 15}).json()["state"])


def verify(folder: Path, key: Path, *more: str) -> subprocess.CompletedProcess[str]:
    (alone := folder / tool.NAME).write_bytes(tool.packed())
    command = [sys.executable, "-I", "-S", str(alone), str(folder / "evidence.zip"), "--key", str(key), *more]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_from_registering_a_passkey_to_the_auditor(
    vera: Page, agent: httpx.Client, live_instance: Live, tmp_path: Path
) -> None:
    url = live_instance.url
    action = propose(agent, "the north vault")
    vera.goto(f"{url}/?open={action}")
    expect(vera.locator("#approve-form")).to_contain_text("You have no passkey yet")

    vera.get_by_role("link", name="Sign-in and passkeys").click()
    vera.get_by_label("New passkey, called").fill("Laptop")
    vera.get_by_role("button", name="Add passkey").click()
    expect(vera.get_by_text("The passkey “Laptop” is added.")).to_be_visible()

    edited = propose(agent, "the south vault")
    vera.context.clear_cookies()
    vera.goto(f"{url}/?open={edited}")
    vera.get_by_role("button", name="Sign in with a passkey").click()
    expect(vera.locator("#approve-form")).to_contain_text("You sign this approval with your passkey")
    # While the panel is read again and again, as in a busy inbox, a chosen card still comes.
    vera.locator(f"#row-{action} .row-link").click()
    vera.evaluate("id => [1, 2, 3].map(() => agentsec.inbox.refreshPanel(id, 'pending'))", edited)
    expect(vera.locator("#card .sentence")).to_have_text("Open the north vault")
    vera.keyboard.press("a")
    expect(vera.locator("#toasts")).to_contain_text("Approved")
    assert state(agent, action) == "running"

    vera.goto(f"{url}/?open={edited}")
    vera.wait_for_load_state("networkidle")
    vera.get_by_role("button", name="Edit and approve").click()
    vera.get_by_label("door").fill("the east vault")
    vera.get_by_label("Why?", exact=True).fill("The south vault\u2019s hinge is broken")
    vera.get_by_role("button", name="Save and approve").click()
    expect(vera.locator("#toasts")).to_contain_text("Still needed: somebody other than vera")

    token = live_instance.manage("token", "create", "vera").stdout.split()[-1]
    headers = {"Authorization": f"Bearer {token}"}
    for done in (action, edited):
        answer = httpx.get(f"{url}/api/v1/actions/{done}/evidence", headers=headers, timeout=60)
        (tmp_path / "evidence.zip").write_bytes(answer.content)
        live_instance.manage("passkeys", str(tmp_path / "pins.json"))
        key = live_instance.home / "keys" / "log.pub"
        found = verify(tmp_path, key), verify(tmp_path, key, "--passkeys", str(tmp_path / "pins.json"))
        assert [each.returncode for each in found] == [0, 0], found
    (tmp_path / "pins.json").write_text(json.dumps(pins_of_somebody_else(tmp_path)))
    refused = verify(tmp_path, key, "--passkeys", str(tmp_path / "pins.json"))
    assert (refused.returncode, refused.stdout.split()[:2]) == (1, ["FORGED", "entry"])


def pins_of_somebody_else(folder: Path) -> list[dict[str, Any]]:
    return [{**pin, "user": "user:0"} for pin in json.loads((folder / "pins.json").read_text())]
