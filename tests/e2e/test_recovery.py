"""Parts of an instance die at bad moments: nothing is lost, nothing runs twice, nothing is left behind.

This is the short form of `python -m tests.chaos`, with two scenes played slowly before it.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psutil
import pytest

from tests.chaos.counting import Check
from tests.chaos.driving import Ledger, patiently
from tests.chaos.run import WORKERS, Chaos, Report, chaos
from tests.live import made_home

pytestmark = [pytest.mark.e2e, pytest.mark.chaos]
PROMISES = (
    "every accepted proposal reached an end",
    "one call is one action",
    "no rule blocked it",
    "nothing started twice",
    "nobody started what nobody asked for again",
    "no start that the log does not hold",
    "nothing ran without a yes",
    "what succeeded did run",
    "every result is right",
    "a statement that failed changed nothing",
    "one answer, by whichever way it came",
    "nothing started before its time",
    "a secret came where it belongs",
    "no privilege is alive",
    "the log verifies",
    "no process is left",
    "no file, mount or cgroup is left",
)


@pytest.fixture(scope="module")
def frail() -> Iterator[Chaos]:
    """An instance of its own, whose processes the tests kill."""
    with chaos(say=lambda line: None, home=made_home) as made:
        yield made


@pytest.fixture(scope="module")
def report(frail: Chaos) -> Report:
    counted = frail.play(actions=20, threads=8, seed=1, pause=0.3, every=2, forgets=0.0)
    frail.end(counted)
    return counted


def until(seen: Callable[[], Any], what: str, seconds: float = 40) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := seen():
            return found
        time.sleep(0.02)
    raise AssertionError(f"it never happened: {what}")


def propose(frail: Chaos, tool: str, code: str, *, session: str = "", ask: bool = False, **more: Any) -> Any:
    opened = session or frail.agent.open_session(purpose="recovery")
    return frail.agent.propose(opened, tool, {"code": code, "ask": ask}, **more)


def jobs(frail: Chaos) -> dict[str, list[psutil.Process]]:
    """Who runs a job, and its processes."""
    found = {}
    for name in WORKERS:
        # Sandboxes that stand ready sleep too, but not by this program.
        family = frail.live.child(name).children(recursive=True)
        if any(process.name() == "sleep" for process in family):
            found[name] = [process for process in family if process.name() in ("python3", "sleep")]
    return found


def test_of_a_frozen_worker_nothing_lives_when_its_action_is_started_again(frail: Chaos) -> None:
    mark = frail.opens.give()
    action = propose(frail, "chaos.again", f"import os; open({mark!r}).close(); os.system('sleep 1.5')")
    until(lambda: frail.opens.count(mark) == 1, "the job runs")
    [(name, running)] = until(lambda: list(jobs(frail).items()), "its processes are seen")
    frozen = frail.live.child(name)
    frozen.suspend()
    for process in running:
        process.suspend()  # so that it cannot end by itself meanwhile
    until(lambda: frail.opens.count(mark) == 2, "another worker starts it again")
    assert not [process for process in (frozen, *running) if _lives(process)]
    assert until(lambda: _final(frail, action["id"]), "it ends")["state"] == "succeeded"
    assert frail.opens.count(mark) == 2


def test_who_was_cut_off_by_a_dying_web_process_gets_the_same_answer(frail: Chaos) -> None:
    session, call = frail.agent.open_session(purpose="cut off"), uuid4().hex
    again = {"session": session, "ask": True, "tool_call_id": call}
    action = propose(frail, "chaos.python", "print('whole')", **again)
    with ThreadPoolExecutor(1) as pool:
        waiting: Future[Any] = pool.submit(frail.agent.call, "GET", f"/actions/{action['id']}?wait=30")
        time.sleep(0.2)
        frail.live.child("web").kill()
        with pytest.raises((OSError, http.client.HTTPException)):
            waiting.result()
    decision = {"verdict": "approve", "digest": action["digest"]}
    _patiently(lambda: frail.reviewer.call("POST", f"/actions/{action['id']}/decision", decision))
    by_id = until(lambda: _final(frail, action["id"]), "it ends")
    by_call = frail.agent.call("GET", f"/actions/lookup?session={session}&tool_call_id={call}")
    anew = propose(frail, "chaos.python", "print('whole')", **again)
    assert by_id == by_call == anew
    assert by_id["result"]["stdout"] == "whole\n"


def test_what_was_put_off_starts_at_its_time_and_not_before(frail: Chaos) -> None:
    at = datetime.now(UTC) + timedelta(seconds=1.5)
    action = propose(frail, "chaos.python", "print('now')", not_before=at.isoformat())
    until(lambda: _final(frail, action["id"]), "it ends")
    with frail.database() as database:
        query = "SELECT started_at FROM approvals_execution WHERE action_id = %s"
        [[started]] = database.execute(query, [action["id"]]).fetchall()
    late = (started - at).total_seconds()
    print(f"put off, it started {late:.2f} s after its time")
    assert 0 <= late < 10


def test_everything_was_struck(report: Report) -> None:
    assert sum(report.states.values()) >= 20
    assert len(report.struck) >= 5


def test_calls_of_every_kind_were_made(report: Report) -> None:
    assert set(report.starts) >= {
        "chaos.sql",
        "chaos.look",
        "chaos.http",
        "chaos.pay",
        "chaos.role",
        "chaos.token",
    }


@pytest.mark.parametrize("promise", PROMISES)
def test_it_kept_its_promise(report: Report, promise: str) -> None:
    [check] = [item for item in report.checks if item.promise == promise]
    assert isinstance(check, Check) and check.broken == ()


def _final(frail: Chaos, action: str) -> Any:
    told = _patiently(lambda: frail.agent.call("GET", f"/actions/{action}?wait=1"))
    return told if told["state"] not in ("pending", "ready", "running", "interrupted") else None


def _patiently(work: Callable[[], Any]) -> Any:
    return patiently(work, Ledger(), until=time.monotonic() + 60)


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
