"""A worker that cannot tell that it lives ends, with its job, before others take its work over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from threading import Event, Timer

import psycopg
import pytest
from django.conf import LazySettings
from django.db import DatabaseError
from django.utils import timezone

from agentsec_site.embedded import REPOSITORY
from approvals import clock, execution, heartbeat, lease, sandbox, starting
from approvals.models import Action, Execution
from approvals.sandbox import Job
from policies.models import Grant
from tests.cast import Cast
from traces.problems import Refused

# A worker as far as a lease goes: it says when it holds one, and renews it as often as it is told to.
HOLDER = """
import sys, time
sys.path.insert(0, sys.argv[1])
import django.conf
django.conf.settings.configure(AGENTSEC_STALE_SECONDS=0.6)
from approvals import lease, watchdog
lease.guard_this_process()
lease.renew(watchdog.clock())
print(lease._HELD.guard._process.pid, flush=True)
while sys.argv[2] == "renews":
    time.sleep(0.05)
    lease.renew(watchdog.clock())
if sys.argv[2] == "releases":
    lease.release()
time.sleep(60)
"""


def until(seen: Callable[[], object], seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if seen():
            return True
        time.sleep(0.01)
    return False


class Holder:
    def __init__(self, way: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(REPOSITORY), way], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.watchdog = int(self.process.stdout.readline())

    def dies(self, seconds: float) -> bool:
        return until(lambda: self.process.poll() is not None, seconds)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def holder(request: pytest.FixtureRequest) -> Iterator[Holder]:
    made = Holder(request.param)
    yield made
    made.close()


@pytest.mark.parametrize("holder", ["renews"], indirect=True)
def test_a_frozen_worker_is_killed_when_its_lease_ends(holder: Holder) -> None:
    assert not holder.dies(0.6)
    holder.process.send_signal(signal.SIGSTOP)
    assert holder.dies(2)
    assert holder.process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("holder", ["hangs"], indirect=True)
def test_a_worker_that_hangs_is_killed_too(holder: Holder) -> None:
    assert holder.dies(2)


@pytest.mark.parametrize("holder", ["releases"], indirect=True)
def test_a_worker_that_holds_nothing_is_left_alone(holder: Holder) -> None:
    assert not holder.dies(0.8)


@pytest.mark.parametrize("holder", ["releases"], indirect=True)
def test_the_watchdog_goes_with_its_worker(holder: Holder) -> None:
    holder.close()
    assert until(lambda: not Path(f"/proc/{holder.watchdog}").exists())


def test_a_worker_without_its_watchdog_does_not_go_on() -> None:
    guard = lease.Guard()
    guard._process.kill()
    guard._process.wait()
    with pytest.raises(BrokenPipeError):
        guard.renew(1.0)
    os.close(guard._writer)


def test_a_watchdog_that_died_has_a_successor(monkeypatch: pytest.MonkeyPatch) -> None:
    first = lease.Guard()
    monkeypatch.setattr(lease._HELD, "guard", first)
    first._process.kill()
    first._process.wait()
    lease.mend()
    second = lease._HELD.guard
    assert second is not None and second is not first
    lease.renew(lease.watchdog.clock())
    lease.release()
    second.close()


def died(guard: lease.Guard) -> None:
    guard._process.kill()
    guard._process.wait()


def test_a_watchdog_that_dies_beside_a_start_costs_nothing_at_its_ends(
    committed_cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, guard = begun(committed_cast), lease.Guard()
    monkeypatch.setattr(lease._HELD, "guard", guard)
    died(guard)
    with heartbeat.beating(start.execution) as pulse:
        assert lease._HELD.guard is not None
        died(lease._HELD.guard)
    assert not pulse.stop.is_set()
    lease._HELD.guard.close()


def begun(cast: Cast, code: str = "print(1)") -> starting.Started:
    action = cast.propose("script.run", {"code": code})
    started = starting.start(action_id=action.pk, worker="tests")
    assert isinstance(started, starting.Started)
    return started


def test_a_worker_that_slept_from_the_start_on_launches_nothing(
    committed_cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its grant was used and its job not yet launched when others took it for dead."""
    start, launched = begun(committed_cast), Event()

    def frozen(job: Job, *, on_start: Callable[[int], None], **more: object) -> sandbox.Outcome:
        execution.interrupt(action_id=start.action.pk, fence=start.execution.fence, why="taken for dead")
        on_start(0)
        launched.set()
        raise AssertionError("it runs")

    monkeypatch.setattr(sandbox, "run", frozen)
    assert "over" in execution._run(start)
    assert not launched.is_set()


def test_a_start_that_is_over_does_not_begin_to_beat(committed_cast: Cast) -> None:
    start = begun(committed_cast)
    execution.interrupt(action_id=start.action.pk, fence=start.execution.fence, why="taken for dead")
    with pytest.raises(Refused), heartbeat.beating(start.execution):
        raise AssertionError("it goes on")


CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename <> current_user"
)


def test_a_database_that_is_away_for_a_moment_costs_no_job(
    committed_cast: Cast, superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every connection of the worker dies while its job runs, the one that writes the end among them."""
    start, look = begun(committed_cast, "import time; time.sleep(0.5); print('whole')"), heartbeat.last_look
    cutters: list[Timer] = []

    def launched(running: Execution, pid: int) -> None:
        look(running, pid)
        cutters.extend(Timer(seconds, superuser.execute, [CUT]) for seconds in (0.1, 0.3))
        for cutter in cutters:
            cutter.start()

    monkeypatch.setattr(heartbeat, "last_look", launched)
    assert execution._run(start) == "succeeded: exited"
    for cutter in cutters:
        cutter.join()
    assert Action.objects.get().result["stdout"] == "whole\n"


def test_a_worker_without_a_database_gives_its_job_up_before_others_may_have_it(
    committed_cast: Cast, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.AGENTSEC_HEARTBEAT_SECONDS, settings.AGENTSEC_STALE_SECONDS = 0.1, 0.9
    monkeypatch.setattr(heartbeat, "LOOK_SECONDS", 0.05)
    start = begun(committed_cast)

    def away(execution: Execution) -> None:
        raise DatabaseError("away")

    with heartbeat.beating(start.execution) as pulse:
        monkeypatch.setattr(heartbeat, "told_to_stop", away)
        assert pulse.lost.wait(0.9)
    assert pulse.stop.is_set()


def test_a_start_waits_until_the_privilege_of_the_last_one_has_ended(committed_cast: Cast) -> None:
    start = begun(committed_cast)
    execution.interrupt(action_id=start.action.pk, fence=start.execution.fence, why="taken for dead")
    Action.objects.update(state="ready")
    Grant.objects.update(state="revoking")
    held = starting._held(Action.objects.get(), start.tool)
    assert held is not None and "last start" in held.why


def test_an_idempotent_action_is_not_started_again_the_moment_it_was_interrupted(
    committed_cast: Cast,
) -> None:
    start = begun(committed_cast)
    Action.objects.update(idempotent=True)
    execution.interrupt(action_id=start.action.pk, fence=start.execution.fence, why="taken for dead")
    assert clock.resume(timezone.now()) == 0
    assert clock.resume(timezone.now() + timedelta(seconds=clock.SETTLED_SECONDS + 1)) == 1


def test_the_end_of_a_start_does_not_forget_who_stopped_it(committed_cast: Cast) -> None:
    start = begun(committed_cast)
    Execution.objects.update(stop_requested="stopped by ada")
    execution._run(start)
    assert Execution.objects.get().stop_requested == "stopped by ada"
