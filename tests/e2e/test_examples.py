"""What README and pages tell a reader to type, typed: on a whole instance, word for word."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from agentsec_site.demo.client import Client, Problem
from agentsec_site.embedded import REPOSITORY
from tests.live import Live, clean_environment

pytestmark = pytest.mark.e2e


def blocks(page: str, language: str) -> list[str]:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def world(live_instance: Live, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a reader who has saved the README's world file."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "world.yaml").write_text(blocks("README.md", "yaml")[0], encoding="utf-8")
    return folder


def typed(live: Live, folder: Path) -> str:
    """The README's shell blocks in one shell; only where things are differs from what is written there."""
    script = "\n".join(blocks("README.md", "sh")).replace("http://localhost:8000", live.url)
    script = script.replace("python3 manage.py", f"{sys.executable} {REPOSITORY}/manage.py")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder, env=clean_environment(AGENTSEC_HOME=str(live.home)), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_connects_an_agent(live_instance: Live, world: Path) -> None:
    told = typed(live_instance, world)
    assert "Your vote counts" not in told and '"effect": "approved"' in told
    assert "\nrunning\nsucceeded\n" in told
    assert "'stdout': '45\\n'" in told.splitlines()[-1]


def test_the_python_example_waits_for_people_and_ends(live_instance: Live, world: Path) -> None:
    live_instance.manage("apply", str(world / "world.yaml"))
    key = live_instance.manage("agent", "create", "helpdesk-bot", "--scopes", "act,attest").stdout.split()[-1]
    live_instance.manage("user", "create", "noor", "--groups", "support,approvers")
    token = live_instance.manage("token", "create", "noor").stdout.split()[-1]
    person, done = Client(live_instance.url, token), threading.Event()
    deciding = threading.Thread(target=approve_all, args=(person, done))
    deciding.start()
    try:
        ran = subprocess.run(
            [sys.executable, "-c", blocks("docs/connecting-an-agent.md", "python")[0]],
            env=clean_environment(KEY=key, API=f"{live_instance.url}/api/v1"),
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    finally:
        done.set()
        deciding.join()
    assert (ran.stdout.split(), ran.stderr) == (["succeeded"], "")


def approve_all(person: Client, done: threading.Event) -> None:
    """Somebody of both groups that are asked says yes to whatever waits; one person counts for one group."""
    while not done.is_set():
        for item in person.call("GET", "/inbox")["actions"]:
            vote = {"verdict": "approve", "digest": item["digest"]}
            try:
                person.call("POST", f"/actions/{item['id']}/decision", vote)
            except Problem as problem:
                assert problem.status == 409
        time.sleep(0.2)
