"""The kill switch on a whole instance: every process obeys it within a second, every open page says so."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from agentsec_site import embedded
from agentsec_site.demo.client import Problem
from agentsec_site.home import secret
from tests.e2e.company import Company

CHROMIUM = "/usr/bin/chromium"
SLOW = """
import subprocess
child = subprocess.Popen(["sleep", "60"])
print("started", flush=True)
child.wait()
"""
pytestmark = pytest.mark.e2e


def until(seen: Callable[[], Any], what: str, seconds: float = 20) -> float:
    """Seconds until it is seen."""
    began = time.monotonic()
    while not seen():
        assert time.monotonic() - began < seconds, f"it never happened: {what}"
        time.sleep(0.01)
    return time.monotonic() - began


def throw(company: Company, scope: str) -> None:
    company.people["demo"].call("POST", "/switch", {"scope": scope, "reason": "a drill"})


@pytest.fixture
def office(company: Company) -> Iterator[Company]:
    """The company, with nothing stopped before and after."""
    yield company
    for switch in company.people["demo"].call("GET", "/switch")["thrown"]:
        company.people["demo"].call("DELETE", f"/switch/{switch['scope']}")


def slow_job(company: Company) -> dict[str, Any]:
    """A script of a minute, approved and under way on a worker."""
    agent = company.stage.agent("data-bot")
    session = company.stage.host("data-bot").open_session(purpose="Something slow")
    action = dict(agent.propose(session, "python.run", {"code": SLOW}))
    company.decide(action)
    # A worker's first job comes after it has tried its sandbox, so the job itself has to say that it runs.
    until(lambda: "started" in printed(company, action), "the job runs", 40)
    return action


def printed(company: Company, action: dict[str, Any]) -> str:
    services = embedded.plan(company.live.home)
    password = secret(services.home, "postgres.password")
    url = services.postgres_url(user="postgres", password=password, database="agentsec")
    with psycopg.connect(url) as connection:
        query = "SELECT stdout FROM approvals_execution WHERE action_id = %s"
        row = connection.execute(query, [action["id"]]).fetchone()
    return str(row[0]) if row else ""


def jobs(company: Company) -> list[psutil.Process]:
    """The scripts that run inside sandboxes now, and what they started: sandboxes that stand ready have no
    child that sleeps, and are alike otherwise.
    """
    found = []
    for name in ("worker-1", "worker-2"):
        for process in company.live.child(name).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                parent = process.parent()
                if process.name() == "sleep" and parent is not None:
                    found += [process, parent]
    assert found, "no job runs"
    return found


def gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() for process in processes)


def state(company: Company, action: dict[str, Any]) -> str:
    return str(company.stage.agent("data-bot").call("GET", f"/actions/{action['id']}")["state"])


def refused(company: Company) -> bool:
    agent = company.stage.agent("data-bot")
    session = agent.open_session(purpose="One more")
    try:
        agent.call("POST", "/actions", {"session": session, "tool": "python.run", "args": {"code": "1"}})
    except Problem as problem:
        return problem.status == 403 and "a drill" in str(problem)
    return False


@pytest.mark.parametrize("scope", ["all", "group:data", "agent:data-bot", "tool:python.run"])
def test_a_running_job_is_gone_within_a_second(office: Company, scope: str) -> None:
    action = slow_job(office)
    running, began = jobs(office), time.monotonic()
    throw(office, scope)
    until(lambda: gone(running), "the job is stopped")
    seconds = time.monotonic() - began
    print(f"{scope}: the job is gone {seconds:.2f} s after the call was made")
    assert seconds < 1
    until(lambda: state(office, action) == "failed", "it says so", 5)


def test_the_next_call_is_refused_at_once_and_waiting_ones_go_on_after_the_resume(office: Company) -> None:
    agent = office.stage.agent("data-bot")
    session = office.stage.host("data-bot").open_session(purpose="Something quick")
    waiting = dict(agent.propose(session, "python.run", {"code": "print(1)"}))
    throw(office, "agent:data-bot")
    assert refused(office)
    office.decide(waiting)
    time.sleep(7)  # past the moment in which an approval can be undone
    assert state(office, waiting) == "ready"
    office.people["demo"].call("DELETE", "/switch/agent:data-bot")
    until(lambda: state(office, waiting) == "succeeded", "it runs after the resume")


def test_the_command_stops_and_resumes(office: Company) -> None:
    assert "Stopped: group:data" in office.live.manage("stop", "group:data", "--reason", "a drill").stdout
    assert refused(office)
    assert "group:data runs again." in office.live.manage("resume", "group:data").stdout


@pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"there is no {CHROMIUM}")
def test_a_person_stops_and_resumes_by_keyboard_and_other_pages_follow(office: Company) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    complaints: list[str] = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context()
        page = context.new_page()
        page.goto(office.live.link)
        if page.locator("main form button[type=submit]").count() and "/welcome/" in page.url:
            page.locator("main form button[type=submit]").first.click()
        other, admin = context.new_page(), context.new_page()
        for tab, path in ((page, "/"), (other, "/health"), (admin, "/admin/")):
            tab.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
            tab.on("pageerror", lambda error: complaints.append(str(error)))
            tab.goto(office.live.url + path)
        page.get_by_role("button", name="Stop…").focus()
        page.keyboard.press("Enter")
        page.get_by_label("One agent").check()
        page.get_by_label("Its name").fill("data-bot")
        page.get_by_role("textbox", name="Why").fill("it runs wild")
        page.keyboard.press("Enter")
        for tab in (page, other, admin):
            playwright.expect(tab.locator("#switches")).to_contain_text("Stopped: agent:data-bot")
        assert refused_by_switch(office)
        other.get_by_role("button", name="Resume").focus()
        other.keyboard.press("Enter")
        playwright.expect(page.locator("#switches .switch-banner")).to_have_count(0, timeout=9000)
        browser.close()
    assert complaints == []


def test_stop_on_the_page_of_a_running_job_ends_it_within_a_second(office: Company, page: Any) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    action = slow_job(office)
    page.goto(f"{office.live.url}/actions/{action['id']}")
    page.locator("summary", has_text="Stop it…").click()
    page.get_by_label("Why?").fill("it runs wild")
    running, began = jobs(office), time.monotonic()
    page.get_by_role("button", name="Stop it now").click(no_wait_after=True)
    until(lambda: gone(running), "the job is gone")
    seconds = time.monotonic() - began
    playwright.expect(page.locator("#panel-status")).to_contain_text("ailed")
    playwright.expect(page.locator("main")).to_contain_text("it runs wild")
    print(f"stop: the job is gone {seconds:.2f} s after the click began")
    assert seconds < 1 and state(office, action) == "failed"


def test_what_is_told_while_an_answer_is_on_its_way_is_shown(office: Company, page: Any) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    action = slow_job(office)
    panels = Held(page, "**/panel")
    page.goto(f"{office.live.url}/actions/{action['id']}")
    panels.arrive()  # the socket is open: what happened before it is read
    stops = Held(page, "**/stop")
    form = page.locator("details.stop")
    form.locator("summary").click()
    page.get_by_role("button", name="Stop it now").click(no_wait_after=True)
    stops.arrive()
    with page.expect_response("**/panel"):
        panels.let_go()  # read before the click, come after it
    page.wait_for_timeout(200)
    assert form.get_attribute("open") is not None, (
        "the form whose answer is awaited was exchanged for another"
    )
    stops.let_go()
    playwright.expect(page.locator("#panel-status")).to_contain_text("ailed")


class Held:
    """Requests of a page that are held back: those that `arrive` before they are `let_go`, and none after."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.routes, self.open = page, list[Any](), False
        page.route(address, lambda route: route.continue_() if self.open else self.routes.append(route))

    def arrive(self) -> None:
        ends = time.monotonic() + 20
        while not self.routes:
            assert time.monotonic() < ends, "no such request"
            self.page.wait_for_timeout(20)

    def let_go(self) -> None:
        self.open = True
        for route in self.routes:
            route.continue_()


def refused_by_switch(company: Company) -> bool:
    thrown = company.people["demo"].call("GET", "/switch")["thrown"]
    return bool([switch["reason"] for switch in thrown] == ["it runs wild"])
