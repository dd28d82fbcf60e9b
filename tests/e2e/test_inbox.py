"""The inbox in real browsers on a whole instance: live rows, one decision, undo, keys, who sees nothing."""

from __future__ import annotations

import contextlib
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.cast import MANY, WORLD
from tests.live import Live

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
Browser, BrowserContext, Page, expect = (
    playwright.Browser,
    playwright.BrowserContext,
    playwright.Page,
    playwright.expect,
)
CHROMIUM = "/usr/bin/chromium"
PASSWORD = "correct horse battery staple"
PEOPLE = {
    "ada": ("comms,finance", "approver,member"),
    "cy": ("comms", "approver,member"),
    "olga": ("audit", "auditor"),
    "sam": ("elsewhere", "approver,member"),
}
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not Path(CHROMIUM).exists(), reason=f"there is no {CHROMIUM}: apt-get install chromium"
    ),
]


@dataclass
class Office:
    """The instance, a browser a person, an agent, and everything that any page complained about."""

    live: Live
    browser: Any
    agent: httpx.Client
    links: dict[str, str]
    complaints: list[str] = field(default_factory=list)
    contexts: dict[str, Any] = field(default_factory=dict)

    def forgive_lost_requests(self) -> None:
        """For tests that cut a page off or sign it out: what it was asking for then fails, and it says so.

        htmx rejects a request that never arrived with `undefined`.
        """
        lost = ("net::ERR_", "htmx:", ": undefined")
        self.complaints = [said for said in self.complaints if not any(word in said for word in lost)]

    def page(self, name: str, **options: Any) -> Any:
        """A fresh page of this person, signed in; their first visit is by their invitation."""
        if name not in self.contexts or options:
            self.contexts[name] = self._enter(name, options)
        page = self.contexts[name].new_page()
        page.on(
            "console", lambda said: said.type == "error" and self.complaints.append(f"{name}: {said.text}")
        )
        page.on("pageerror", lambda error: self.complaints.append(f"{name}: {error}"))
        page.goto(self.live.url)
        return page

    def _enter(self, name: str, options: dict[str, Any]) -> Any:
        context = self.browser.new_context(viewport={"width": 1280, "height": 800}, **options)
        page = context.new_page()
        link = self.links.pop(name, "")
        page.goto(link or f"{self.live.url}/sign-in")
        if link:
            page.get_by_label("The same again").fill(PASSWORD)
        else:
            page.get_by_label("Name").fill(name)
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.locator("main button[type=submit]").click()
        page.wait_for_url(re.compile(f"^{re.escape(self.live.url)}/(\\?open=.*)?$"))
        page.close()
        return context

    def propose(self, tool: str, args: dict[str, Any], **more: Any) -> dict[str, Any]:
        session = self.agent.post("/sessions", json={"purpose": "News", "user": "erin"}).json()["id"]
        body = {"session": session, "tool": tool, "args": args, **more}
        answer: dict[str, Any] = self.agent.post("/actions", json=body).json()
        return answer

    def mass_mail(self, subject: str) -> dict[str, Any]:
        args = {"to": MANY, "subject": subject, "body": "Hello"}
        return self.propose("email.send", args, reason="The boss said yes")


@pytest.fixture(scope="module")
def office(live_instance: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    world = tmp_path_factory.mktemp("world") / "world.yaml"
    world.write_text(WORLD)
    live_instance.manage("apply", str(world))
    key = live_instance.manage("agent", "create", "scout", "--scopes", "act,attest").stdout.split()[-1]
    made = {
        name: live_instance.manage("user", "create", name, "--groups", groups, "--roles", roles)
        for name, (groups, roles) in PEOPLE.items()
    }
    links = {name: answer.stdout.split()[-1] for name, answer in made.items()}
    # The link names the address that the site is known under, which may differ from this instance's port.
    links = {name: live_instance.url + link[link.index("/welcome/") :] for name, link in links.items()}
    headers = {"Authorization": f"Bearer {key}"}
    with (
        playwright.sync_playwright() as engine,
        engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]) as browser,
        httpx.Client(base_url=f"{live_instance.url}/api/v1", headers=headers, timeout=30) as agent,
    ):
        yield Office(live_instance, browser, agent, links)


@pytest.fixture(autouse=True)
def nothing_to_complain_about(office: Office) -> Iterator[None]:
    """No page may log an error, a refused inline style or script above all."""
    office.complaints.clear()
    yield
    for context in office.contexts.values():
        for page in context.pages:
            page.close()
    assert office.complaints == []


def row(page: Any, action: dict[str, Any]) -> Any:
    return page.locator(f"#row-{action['id']}")


def open_(page: Any, action: dict[str, Any]) -> None:
    row(page, action).locator("a").click()
    expect(page.locator(f"#card[data-id='{action['id']}']")).to_be_visible()


def live(*pages: Any) -> None:
    for page in pages:
        expect(page.locator("#live-state")).to_have_text("Live")


def test_a_row_appears_in_two_browsers_is_decided_in_one_and_leaves_the_other(office: Office) -> None:
    ada, cy, sam = office.page("ada"), office.page("cy"), office.page("sam")
    live(ada, cy, sam)
    action = office.mass_mail("Live")
    expect(row(ada, action)).to_be_visible()
    expect(row(cy, action)).to_be_visible()
    open_(ada, action)
    open_(cy, action)
    ada.keyboard.press("a")
    expect(row(ada, action)).to_have_count(0)
    expect(row(cy, action)).to_have_count(0)
    # What cy is reading does not vanish; it says what became of it.
    expect(cy.locator("#panel-status")).to_contain_text("Approved by ada")
    expect(cy.locator("#approve-form")).to_have_count(0)
    expect(row(sam, action)).to_have_count(0)
    assert office.agent.get(f"/actions/{action['id']}?wait=20").json()["state"] in ("ready", "running")


def test_an_approval_is_undone_by_key_within_five_seconds(office: Office) -> None:
    ada = office.page("ada")
    live(ada)
    action = office.mass_mail("Undo")
    open_(ada, action)
    ada.keyboard.press("a")
    expect(ada.locator(".toast")).to_contain_text("Approved")
    ada.keyboard.press("z")
    expect(row(ada, action)).to_be_visible()
    expect(ada.locator("#panel-status")).to_contain_text("Waiting")
    assert office.agent.get(f"/actions/{action['id']}").json()["state"] == "pending"


def test_a_rejection_carries_its_reason_to_the_agent(office: Office) -> None:
    ada = office.page("ada")
    live(ada)
    action = office.mass_mail("Reject")
    open_(ada, action)
    ada.keyboard.press("r")
    ada.keyboard.type("Nobody wants that")
    ada.locator("#reject-form button[type=submit]").click()
    expect(row(ada, action)).to_have_count(0)
    answer = office.agent.get(f"/actions/{action['id']}").json()
    assert answer["state"] == "rejected" and "Nobody wants that" in str(answer)


def test_an_edit_is_shown_as_a_difference_and_the_agent_gets_the_new_arguments(office: Office) -> None:
    ada = office.page("ada")
    live(ada)
    action = office.mass_mail("Typo")
    open_(ada, action)
    ada.keyboard.press("e")
    ada.get_by_label("subject").fill("No typo")
    ada.get_by_label("Why?", exact=True).fill("spelling")
    ada.get_by_role("button", name="Save and approve").click()
    expect(row(ada, action)).to_have_count(0)
    assert office.agent.get(f"/actions/{action['id']}").json()["args"]["subject"] == "No typo"
    ada.goto(f"{office.live.url}/actions/{action['id']}")
    expect(ada.locator(".revision ins")).to_contain_text("No typo")


def test_a_destructive_action_is_approved_by_typing_its_target(office: Office) -> None:
    ada = office.page("ada")
    live(ada)
    action = office.propose("deploy", {"target": "production"})
    open_(ada, action)
    ada.keyboard.press("a")
    ada.keyboard.type("staging")
    ada.keyboard.press("Enter")
    expect(ada.locator("#panel-status [role=alert]")).to_contain_text("production")
    office.complaints.clear()  # the browser reports the 422 that this is about
    ada.locator("#confirm").fill("production")
    ada.locator("#approve-form button[type=submit]").click()
    expect(row(ada, action)).to_have_count(0)
    ada.goto(f"{office.live.url}/actions/{action['id']}")
    expect(ada.locator("#progress .stream").first).to_contain_text("deployed production", timeout=20_000)
    expect(ada.locator("#progress")).to_contain_text("succeeded")
    expect(ada.locator("#progress")).not_to_contain_text("waits for the next checkpoint", timeout=10_000)


def test_single_keys_say_so_and_do_nothing_once_switched_off(office: Office) -> None:
    cy, action = office.page("cy"), office.mass_mail("By voice")
    open_(cy, action)
    expect(cy.locator("#approve-form button[type=submit]")).to_have_attribute("aria-keyshortcuts", "a")
    cy.goto(f"{office.live.url}/account")
    cy.get_by_role("button", name="Switch single-key shortcuts off").click()
    cy.goto(f"{office.live.url}/?open={action['id']}")
    expect(cy.locator("#reject-why")).to_be_attached()
    for key in ("a", "r", "e", "?", "/", "x", "w", "j"):
        cy.keyboard.press(key)
    expect(cy.locator("#reject-form:visible, #edit-form, dialog[open], [aria-keyshortcuts]")).to_have_count(0)
    assert not cy.evaluate("document.activeElement.matches('input')")
    cy.get_by_role("button", name="Keys").click()
    expect(cy.locator("#keys")).to_contain_text("Switch them on")
    cy.keyboard.press("Escape")
    cy.get_by_role("button", name="Reject").click()
    cy.keyboard.type("spoken")
    cy.keyboard.press("Control+Enter")
    expect(row(cy, action)).to_have_count(0)
    assert "spoken" in str(office.agent.get(f"/actions/{action['id']}").json())
    cy.goto(f"{office.live.url}/account")
    cy.get_by_role("button", name="Switch single-key shortcuts on").click()
    expect(cy.locator("body")).to_have_attribute("data-keys", "on")


def test_typing_a_reason_is_not_disturbed_by_what_others_do(office: Office) -> None:
    ada, cy = office.page("ada"), office.page("cy")
    live(ada, cy)
    action = office.propose("order.place", {"supplier": "Acme", "item": "paper", "amount": 20_000})
    open_(ada, action)
    ada.keyboard.press("r")
    ada.keyboard.type("Half a sen")
    open_(cy, action)
    cy.keyboard.press("a")
    expect(ada.locator("#panel-status")).to_contain_text("cy approved")
    ada.keyboard.type("tence")
    expect(ada.locator("#reject-why")).to_have_value("Half a sentence")


def test_what_another_edited_is_not_approved_below_the_old_arguments(office: Office) -> None:
    ada, cy = office.page("ada"), office.page("cy")
    live(ada, cy)
    action = office.mass_mail("Redirected")
    open_(ada, action)
    open_(cy, action)
    ada.keyboard.press("e")
    ada.locator("#edit-form").get_by_label("to", exact=True).fill("somebody@else.example")
    ada.get_by_label("Why?", exact=True).fill("one will do")
    ada.get_by_role("button", name="Save and approve").click()
    expect(cy.locator("#panel-status")).to_contain_text("The arguments changed")
    expect(cy.locator("#panel-actions form")).to_have_count(0)
    cy.keyboard.press("a")
    expect(cy.locator("#show-current")).to_be_focused()
    assert office.agent.get(f"/actions/{action['id']}").json()["state"] == "pending"
    cy.keyboard.press("Enter")
    expect(cy.locator("#card[data-revision='2']")).to_contain_text("somebody@else.example")
    cy.keyboard.press("a")
    expect(row(cy, action)).to_have_count(0)


def test_a_key_decides_nothing_while_the_chosen_card_is_on_its_way(office: Office) -> None:
    ada = office.page("ada")
    live(ada)
    first, second = office.mass_mail("First"), office.mass_mail("Second")
    expect(row(ada, second)).to_be_visible()
    open_(ada, first)
    held: list[Any] = []
    ada.route(f"**/actions/{second['id']}/card", lambda route: held.append(route))
    row(ada, second).locator("a").click()
    until_held(ada, held)
    ada.keyboard.press("a")
    ada.keyboard.press("r")
    expect(ada.locator("#reject-form")).to_be_hidden()
    held[0].continue_()
    expect(ada.locator(f"#card[data-id='{second['id']}']")).to_be_visible()
    states = [office.agent.get(f"/actions/{each['id']}").json()["state"] for each in (first, second)]
    assert states == ["pending", "pending"]
    ada.keyboard.press("a")
    expect(row(ada, second)).to_have_count(0)
    assert office.agent.get(f"/actions/{first['id']}").json()["state"] == "pending"


def test_a_card_that_cannot_be_read_leaves_the_one_before_chosen(office: Office) -> None:
    ada = office.page("ada")
    live(ada)
    first, second = office.mass_mail("Here"), office.mass_mail("Gone")
    expect(row(ada, second)).to_be_visible()
    open_(ada, first)
    ada.route(f"**/actions/{second['id']}/card", lambda route: route.abort())
    row(ada, second).locator("a").click()
    expect(ada.locator(".toast").last).to_be_visible()
    expect(row(ada, first)).to_have_class(re.compile("is-chosen"))
    ada.keyboard.press("a")
    expect(row(ada, first)).to_have_count(0)
    office.forgive_lost_requests()


def test_a_held_key_approves_one_and_each_of_two_is_undone(office: Office) -> None:
    ada = office.page("ada")
    live(ada)
    actions = [office.mass_mail(f"Held {number}") for number in range(3)]
    expect(row(ada, actions[2])).to_be_visible()
    open_(ada, actions[0])
    for _ in range(4):
        ada.keyboard.down("a")
        ada.wait_for_timeout(150)
    ada.keyboard.up("a")
    expect(row(ada, actions[0])).to_have_count(0)
    expect(row(ada, actions[1])).to_be_visible()
    open_(ada, actions[1])
    expect(ada.locator("#detail:not([inert])")).to_be_visible()
    ada.keyboard.press("a")
    expect(row(ada, actions[1])).to_have_count(0)
    ada.keyboard.press("z")
    expect(row(ada, actions[1])).to_be_visible()
    ada.keyboard.press("z")
    expect(row(ada, actions[0])).to_be_visible()


def until_held(page: Any, held: list[Any]) -> None:
    """Until a request that a route holds back is there."""
    end = time.monotonic() + 20
    while not held:
        assert time.monotonic() < end, "no such request"
        page.wait_for_timeout(20)


def test_the_same_is_allowed_for_a_while_by_keyboard_shown_and_revoked(office: Office) -> None:
    ada = office.page("ada")
    live(ada)
    session = office.agent.post("/sessions", json={"purpose": "News"}).json()["id"]

    def mail(subject: str) -> dict[str, Any]:
        args = {"to": MANY, "subject": subject, "body": "Hello"}
        body = {"session": session, "tool": "email.send", "args": args}
        answer: dict[str, Any] = office.agent.post("/actions", json=body).json()
        return answer

    open_(ada, first := mail("First"))
    ada.keyboard.press("w")
    expect(ada.locator("#while")).to_be_checked()
    ada.keyboard.press("a")
    expect(ada.locator("#allowances summary")).to_contain_text("1 allowance for a while")
    second = mail("Second")
    assert second["state"] in ("ready", "running") and "ada allowed" in second["verdict"]["reasons"][0]
    ada.locator("#allowances summary").click()
    ada.get_by_role("button", name="Revoke email.send").click()
    expect(ada.locator("#allowances summary")).to_have_count(0)
    third = mail("Third")
    expect(row(ada, third)).to_be_visible()
    assert (first["state"], third["state"]) == ("pending", "pending")


def test_what_the_kill_switch_holds_says_so_on_an_open_page(office: Office) -> None:
    ada = office.page("ada")
    live(ada)
    action = office.mass_mail("Held")
    open_(ada, action)
    office.live.manage("stop", "tool:email.send", "--reason", "a drill")
    expect(row(ada, action)).to_contain_text("held: stopped by operator (a drill)")
    expect(ada.locator("#panel-status")).to_contain_text("Held: stopped by operator (a drill)")
    office.live.manage("resume", "tool:email.send")
    expect(row(ada, action)).not_to_contain_text("held")
    expect(ada.locator("#panel-status")).not_to_contain_text("Held")


def test_an_auditor_reads_without_buttons(office: Office) -> None:
    olga = office.page("olga")
    action = office.mass_mail("Audit")
    open_(olga, action)
    expect(olga.locator("#panel")).to_contain_text("You read along")
    expect(olga.locator("#panel button")).to_have_count(0)


def test_a_stranger_sees_nothing_by_page_socket_or_rest(office: Office) -> None:
    action, sam = office.mass_mail("Secret"), office.page("sam")
    expect(sam.locator("#list-empty")).to_contain_text("Nothing waits for you")
    status = sam.evaluate("id => fetch(`/actions/${id}/card`).then(answer => answer.status)", action["id"])
    assert status == 404
    refused = sam.evaluate(
        """id => new Promise(done => {
            const wire = new WebSocket(`ws://${location.host}/ws/live?topic=action:${id}`);
            wire.onopen = () => done("open");
            wire.onclose = () => done("refused");
        })""",
        action["id"],
    )
    assert refused == "refused"
    token = office.live.manage("token", "create", "sam").stdout.split()[-1]
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.get(f"{office.live.url}/api/v1/actions/{action['id']}", headers=headers)
    assert answer.status_code == 404
    office.complaints.clear()  # the browser reports each of the refusals that this test is about


def test_a_page_that_lost_its_socket_catches_up_without_reload(office: Office) -> None:
    ada = office.page("ada")
    live(ada)
    ada.context.set_offline(True)
    action = office.mass_mail("While away")
    ada.context.set_offline(False)
    expect(row(ada, action)).to_be_visible(timeout=20_000)
    ada.wait_for_load_state("networkidle")
    # What failed while the page was cut off is what this test provoked.
    office.forgive_lost_requests()


# What the list does to the page, counted from inside.
WATCH = """() => {
    window.seen = { operations: 0, long: [] };
    new MutationObserver((all) => {
        for (const { type, addedNodes, removedNodes } of all) {
            window.seen.operations += type === "childList" ? addedNodes.length + removedNodes.length : 1;
        }
    }).observe(document.getElementById("rows"), { childList: true, subtree: true, attributes: true });
    const long = (found) => window.seen.long.push(...found.getEntries().map((one) => one.duration));
    new PerformanceObserver(long).observe({ type: "longtask" });
}"""
TOP = "id => document.getElementById(`row-${id}`).getBoundingClientRect().top"


def service(office: Office, word: str) -> psutil.Process:
    """The process of the instance's own services whose name or command line says this."""
    home, found = str(office.live.home), []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = " ".join([*process.cmdline(), process.cwd()])
            if home in words and word in f"{process.name()} {words}" and "manage.py" not in words:
                found.append(process)
    assert len(found) == 1
    return found[0]


@contextlib.contextmanager
def without_redis(office: Office) -> Iterator[None]:
    """Valkey is killed, and whoever would start it again holds still for a while."""
    keeper = service(office, "agentsec_site.keeper")
    keeper.suspend()
    try:
        service(office, "valkey-server").send_signal(signal.SIGKILL)
        yield
    finally:
        keeper.resume()


def test_a_killed_redis_shows_a_banner_and_is_caught_up_by_itself(office: Office) -> None:
    ada, cy = office.page("ada"), office.page("cy")
    live(ada, cy)
    action = office.mass_mail("Before")
    expect(row(ada, action)).to_be_visible()
    ada.evaluate("window.sameDocument = true")
    with without_redis(office):
        expect(ada.locator("#banner")).to_contain_text("interrupted", timeout=15_000)
        # PostgreSQL decides; Redis only rings.
        open_(cy, action)
        cy.keyboard.press("a")
        expect(row(cy, action)).to_have_count(0)
        new = office.mass_mail("Meanwhile")
    expect(ada.locator("#banner")).to_be_hidden(timeout=30_000)
    expect(row(ada, new)).to_be_visible()
    expect(row(ada, action)).to_have_count(0)
    assert ada.evaluate("window.sameDocument") is True
    office.forgive_lost_requests()


def test_what_one_reads_stays_in_place_while_more_urgent_ones_arrive(office: Any, tmp_path: Path) -> None:
    soon = tmp_path / "soon.yaml"
    soon.write_text(
        "rules: [{name: soon, effect: ask, tools: [deploy], approvers: comms, expires_after: 5m}]"
    )
    office.live.manage("apply", str(soon))
    late = [
        office.propose("order.place", {"supplier": f"S{n}", "item": "paper", "amount": 20_000})
        for n in range(12)
    ]
    ada = office.page("ada")
    ada.set_viewport_size({"width": 1280, "height": 420})
    live(ada)
    row(ada, late[6]).locator("a").click()
    expect(ada.locator(f"#card[data-id='{late[6]['id']}']")).to_be_visible()
    row(ada, late[6]).scroll_into_view_if_needed()
    ada.evaluate(WATCH)
    before = ada.evaluate(TOP, late[6]["id"])
    urgent = [office.propose("deploy", {"target": f"site-{n}"}) for n in range(3)]
    expect(row(ada, urgent[2])).to_be_attached()
    assert abs(ada.evaluate(TOP, late[6]["id"]) - before) <= 1
    expect(ada.locator("#new-above")).to_have_text("3 new above ↑")
    assert ada.evaluate("window.seen.operations") <= 3 * 12
    ada.locator("#new-above").click()
    expect(row(ada, urgent[0])).to_be_in_viewport()


def test_signing_out_in_one_tab_tells_the_other(office: Office) -> None:
    first = office.page("cy")
    second = office.contexts["cy"].new_page()
    second.goto(office.live.url)
    live(first, second)
    second.locator(".menu summary").click()
    second.get_by_role("button", name="Sign out").click()
    # It says so, unless it was about to ask for something and was sent to the door.
    until = time.monotonic() + 15
    while "/sign-in" not in first.url and "signed out" not in (first.locator("#banner").text_content() or ""):
        assert time.monotonic() < until
        first.wait_for_timeout(100)
    del office.contexts["cy"]
    first.context.close()
    office.forgive_lost_requests()


def test_it_works_on_a_phone(office: Office) -> None:
    action = office.mass_mail("Phone")
    context = office.browser.new_context(
        viewport={"width": 390, "height": 800}, has_touch=True, storage_state=_state(office, "ada")
    )
    page = context.new_page()
    page.goto(office.live.url)
    row(page, action).locator("a").tap()
    approve = page.locator("#approve-form button[type=submit]")
    expect(approve).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_text("← List").tap()
    expect(row(page, action)).to_be_visible()
    row(page, action).locator("a").tap()
    approve.tap()
    page.locator(".toast").get_by_role("button", name="Undo").tap()
    expect(page.locator(".toast")).to_contain_text("waits for a decision again")
    assert office.agent.get(f"/actions/{action['id']}").json()["state"] == "pending"
    context.close()


def _state(office: Office, name: str) -> Any:
    office.page(name).close()
    return office.contexts[name].storage_state()
