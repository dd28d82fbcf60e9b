"""The heartbeat of a start: it tells the database that the worker lives, and the worker that it must end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from django.conf import settings
from django.db import DatabaseError, connections, models
from django.db.models.functions import Now

from approvals import lease
from approvals.models import Execution
from approvals.watchdog import clock
from policies import limits
from traces.problems import Refused

LOOK_SECONDS = 0.25  # how often a worker looks whether its job should stop
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pulse:
    """`stop` is set when the work must end, `lost` when in addition nobody waits for its result: others may
    take this start for dead.
    """

    stop: threading.Event = field(default_factory=threading.Event)
    lost: threading.Event = field(default_factory=threading.Event)

    def lose(self) -> None:
        self.lost.set()
        self.stop.set()


@contextmanager
def beating(execution: Execution) -> Iterator[Pulse]:
    """Beat until the block ends. The first beat is written before it begins: raises Refused("conflict") where
    the start is over already, so that a worker that slept since does nothing.
    """
    # It may have died since the worker took the action, which waited for its checkpoint meanwhile.
    lease.mend()
    began, pulse, done = beat(execution), Pulse(), threading.Event()
    beats = _guarded(partial(_beats, execution, pulse, done, began), pulse)
    thread = threading.Thread(target=beats, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield pulse
    finally:
        done.set()
        thread.join()
        lease.release()


def beat(execution: Execution) -> float:
    """Write that the start goes on, and renew the lease on it; when that began, in seconds of
    `watchdog.clock`. Raises Refused("conflict") where it is over.
    """
    began = clock()
    if not _open(execution).update(heartbeat_at=Now()):
        raise Refused("conflict", "this start is over: others took its worker for dead")
    lease.renew(began)
    return began


def last_look(execution: Execution, pid: int) -> None:
    """Just before the program starts, which may be long after the action did: what was stopped, or taken for
    dead, never runs. Raises Refused.
    """
    if told_to_stop(execution):
        execution.refresh_from_db(fields=["stop_requested"])
        raise Refused("forbidden", execution.stop_requested or "this start is over")
    beat(execution)


def told_to_stop(execution: Execution) -> bool:
    """Whether somebody asked, or a kill switch covers it: a start may have crossed with the switch."""
    action = execution.action
    switch = limits.thrown(action.agent, tool=action.tool)
    if switch is not None:
        _open(execution).filter(stop_requested="").update(stop_requested=limits.stopped_by(switch)[:150])
    return _open(execution).exclude(stop_requested="").exists()


def _open(execution: Execution) -> models.QuerySet[Execution]:
    return Execution.objects.filter(pk=execution.pk, ended_at=None)


def _beats(execution: Execution, pulse: Pulse, done: threading.Event, last: float) -> None:
    """Until the end of the start, or the loss of it."""
    while not done.wait(LOOK_SECONDS):
        try:
            if told_to_stop(execution):
                pulse.stop.set()
            if clock() >= last + settings.AGENTSEC_HEARTBEAT_SECONDS:
                last = beat(execution)
        except DatabaseError as error:
            # A database that restarts is back before the lease ends; the job goes on until then.
            logger.warning("the heartbeat waits for the database: %s", str(error).splitlines()[0])
            connections.close_all()
            if clock() - last > lease.seconds() * 3 / 4:
                return pulse.lose()
        except Refused:
            return pulse.lose()
    return None


def _guarded(beats: Callable[[], None], pulse: Pulse) -> Callable[[], None]:
    """A worker that cannot tell that it lives stops its job before others take it for dead."""

    def guarded() -> None:
        try:
            beats()
        except Exception:
            logger.exception("the heartbeat stopped")
            pulse.lose()
        finally:
            connections.close_all()

    return guarded
