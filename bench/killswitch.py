"""How long after the kill switch is thrown the jobs are gone and every process refuses.

    manage.py bench killswitch [ROUNDS]        (default: 2)

On a whole instance, as `manage.py demo` starts it (web, two workers, clock and sequencer, real sandboxes): in
each round and for each scope two approved scripts run on the workers, one more is approved and waits for
them, and the switch is thrown by one call. From before that call on:

    answered   the call itself has come back
    jobs       no process of the running scripts lives
    refusal    the web process refuses the next call of the agent (asked over and over)

After the call nothing may be let in, and the workers, who have nothing else to do now, must leave the waiting
script alone: how many of either were seen is printed as `slips`, and any ends this with an error.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from agentsec_site.demo import mailbox
from agentsec_site.demo.client import Problem
from tests.e2e.company import Company, open_company
from tests.live import Live, make_home

GOAL = 1.0
BOT, TOOL = "data-bot", "python.run"
SCOPES = ("all", "group:data", f"agent:{BOT}", f"tool:{TOOL}")
WORKERS = ("worker-1", "worker-2")
SLOW = "import subprocess\nsubprocess.run(['sleep', '120'])\n"
UNDO = 6.0  # an approval can be taken back for five seconds, and nothing starts before
WATCHED = 2.0  # seconds in which a worker would have taken the next script
PATIENCE = 60.0


@dataclass
class Measured:
    """Seconds after the switch was thrown, and what happened that must not."""

    answered: float = 0.0
    jobs: float = 0.0
    refusal: float = 0.0
    slips: list[str] = field(default_factory=list)


def main(words: Sequence[str]) -> None:
    rounds = int(words[0]) if words else 2
    print("seconds after the switch was thrown\n")
    print(f"{'scope':<16} {'answered':>8} {'jobs':>6} {'refusal':>8} {'/ goal':>7} {'slips':>6}")
    with company() as office:
        found = [measured(office, scope) for _ in range(rounds) for scope in SCOPES]
    worst = max(max(one.jobs, one.refusal) for one in found)
    slips = [slip for one in found for slip in one.slips]
    print(f"\nThe slowest: {worst:.2f} s, {worst / GOAL:.2f} of the goal of {GOAL:.0f} s")
    if slips or worst > GOAL:
        raise SystemExit("; ".join(slips) or 1)


@contextlib.contextmanager
def company() -> Iterator[Company]:
    live = Live(home=make_home(), command="demo")
    try:
        live.start("--idle")
        with tempfile.TemporaryDirectory() as mail, mailbox.running(Path(mail)) as smtp:
            office = open_company(live, smtp, Path(mail))
            yield office
            office.stage.stop.set()
            office.pool.shutdown()
    finally:
        live.remove()


def measured(office: Company, scope: str) -> Measured:
    """One throw with everything under way, and the resume after it."""
    proposed = [proposal(office) for _ in range(3)]
    for action in proposed[:2]:
        office.decide(action)
    until(lambda: len(jobs(office)) == 2, "both scripts run")
    office.decide(proposed[2])
    approved = time.monotonic()
    until(lambda: time.monotonic() > approved + UNDO, "the approval can no longer be taken back")
    found = thrown(office, scope)
    found.slips += watched(office, proposed[2])
    ratio = max(found.jobs, found.refusal) / GOAL
    print(f"{scope:<16} {found.answered:8.2f} {found.jobs:6.2f} {found.refusal:8.2f} {ratio:7.2f} "
          f"{len(found.slips):6}", flush=True)  # fmt: skip
    office.stage.agent(BOT).call("POST", f"/actions/{proposed[2]['id']}/cancel", {})
    office.people["demo"].call("DELETE", f"/switch/{scope}")
    return found


def thrown(office: Company, scope: str) -> Measured:
    """Throw the switch while one looks at the jobs and one goes on calling."""
    found, session = Measured(), office.stage.host(BOT).open_session(purpose="One more")
    pids = [job.pid for job in jobs(office)]
    began = time.monotonic()

    def look() -> None:
        until(lambda: not any(lives(pid) for pid in pids), "the scripts are gone")
        found.jobs = time.monotonic() - began

    def call() -> None:
        until(lambda: refused(office, session), "a call is refused")
        found.refusal = time.monotonic() - began

    watchers = [threading.Thread(target=each) for each in (look, call)]
    for watcher in watchers:
        watcher.start()
    office.people["demo"].call("POST", "/switch", {"scope": scope, "reason": "a drill"})
    found.answered = time.monotonic() - began
    if not refused(office, session):
        found.slips.append(f"{scope}: a call was let in after the switch was thrown")
    for watcher in watchers:
        watcher.join()
    return found


def watched(office: Company, waiting: dict[str, Any]) -> list[str]:
    """What the workers took on, though it was stopped."""
    end = time.monotonic() + WATCHED
    while time.monotonic() < end:
        if jobs(office):
            return ["a worker started a script while stopped"]
        time.sleep(0.02)
    state = office.stage.agent(BOT).call("GET", f"/actions/{waiting['id']}")["state"]
    return [] if state == "ready" else [f"what waited is {state}"]


def proposal(office: Company) -> dict[str, Any]:
    session = office.stage.host(BOT).open_session(purpose="Something slow")
    return dict(office.stage.agent(BOT).propose(session, TOOL, {"code": SLOW}))


def refused(office: Company, session: str) -> bool:
    body = {"session": session, "tool": TOOL, "args": {"code": "1"}}
    try:
        office.stage.agent(BOT).call("POST", "/actions", body)
    except Problem as problem:
        return problem.status == 403 and "a drill" in str(problem)
    return False


def jobs(office: Company) -> list[psutil.Process]:
    """What the scripts that run now have started: a sandbox that stands ready has no such child."""
    found = []
    for name in WORKERS:
        for process in office.live.child(name).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.name() == "sleep":
                    found.append(process)
    return found


def lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def until(seen: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not seen():
        if time.monotonic() > end:
            raise SystemExit(f"it never happened: {what}")
        time.sleep(0.01)
