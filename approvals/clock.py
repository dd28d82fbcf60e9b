"""What time does: expiry, recovery of dead workers, sweeping what is ready, ending grants.

PostgreSQL is the truth; every part may run in several processes at once, since each change is guarded.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connections, transaction
from django.db.models import Q
from django.db.models.functions import Now

from approvals import (
    claims,
    decisions,
    escalation,
    execution,
    feed,
    forawhile,
    jobs,
    killswitch,
    later,
    looking,
    reaper,
    shadow_release,
    standing,
    starting,
    states,
    stopping,
)
from approvals.models import Action, Execution
from approvals.sql import planning
from policies import absences, signing_keys
from traces import dbtime
from traces.problems import Refused

S = Action.State
TICK_SECONDS = 0.5
BATCH = 200
# A machine that slept with a worker on it wakes up with the worker: its watchdog comes first.
SETTLED_SECONDS = 2
IDEMPOTENCY_KEPT = timedelta(hours=24)
PLANNED = later.Watch()
logger = logging.getLogger(__name__)


def run(stop: threading.Event, *, apart: Collection[Callable[[datetime], int]] = ()) -> None:
    """Tick until told to stop; a database that is away is waited for. Parts that go on `apart`, in threads of
    their own, have no turn here.
    """
    for count in itertools.count():
        if stop.wait(TICK_SECONDS):
            return
        try:
            tick(count, apart=apart)
        except DatabaseError as error:
            logger.warning("the clock waits for the database: %s", str(error).splitlines()[0])
            connections.close_all()
        except Exception:
            logger.exception("the clock stumbled")
        finally:
            close_old_connections()


def tick(count: int = 0, *, apart: Collection[Callable[[datetime], int]] = ()) -> None:
    """What is due, of the parts whose turn the `count`-th tick is (at 0 that of all), each on its own: one
    that fails does not hold up the others.
    """
    now = dbtime.now()
    failures: list[Exception] = []
    for part, every in PARTS.items():
        if count % every or part in apart:
            continue
        try:
            part(now)
        except DatabaseError:
            raise
        except Exception as error:  # noqa: BLE001 - raised together, once every part had its turn
            failures.append(error)
    if failures:
        raise ExceptionGroup("parts of the clock failed", failures)


def stop(now: datetime) -> int:
    """What a kill switch covers and still goes on, whoever threw it; what somebody told to stop."""
    return killswitch.enforce() + stopping.enforce()


def expire(now: datetime) -> int:
    """Pending and ready actions whose time is over."""
    ended = 0
    for action_id in Action.objects.overdue(now).values_list("pk", flat=True)[:BATCH]:
        with transaction.atomic():
            action = states.lock(action_id)
            if action.state in (S.PENDING, S.READY) and action.deadline <= now:
                decisions.expire(action=action)
                ended += 1
    return ended


def escalate(now: datetime) -> int:
    """Pending actions whose group has not decided within the time that its rule gives it."""
    return escalation.escalate_due(now)


def stand_in(now: datetime) -> int:
    """Absences that begin or end now: who stands in sees more or less from this moment."""
    return absences.tell_due(now)


def end_allowances(now: datetime) -> int:
    """Allowances whose time is over, or whose release no longer decides; they answer nothing already."""
    return forawhile.end_due(now)


def end_claims(now: datetime) -> int:
    """Claims of people who no longer look, and those on what was decided meanwhile."""
    return claims.end_due(now)


def forget_looks(now: datetime) -> int:
    """Cards that closed without a word."""
    return looking.forget(now)


def recover(now: datetime) -> int:
    """Starts whose worker has stopped telling that it lives: interrupted; the reaper ends their grants."""
    stale = Now() - timedelta(seconds=settings.AGENTSEC_STALE_SECONDS)
    dead = Execution.objects.filter(
        ended_at=None,
        heartbeat_at__lt=stale,
        action__state=S.RUNNING,
        action__runs__in=execution.WORKER_KINDS,
    )
    found = list(dead.values_list("action_id", "fence")[:BATCH])
    for action_id, fence in found:
        try:
            execution.interrupt(action_id=action_id, fence=fence, why="the worker that ran it is gone")
        except Refused as refused:
            logger.info("action %s: %s", action_id, refused.detail)
    return len(found)


def reap(now: datetime) -> int:
    """Grants whose time is over, and the actions that waited under them."""
    return reaper.reap(now)


def resume(now: datetime) -> int:
    """Interrupted actions of idempotent tools run again by themselves, once nothing of them can run still."""
    again, settled = 0, now - timedelta(seconds=SETTLED_SECONDS)
    waiting = Action.objects.filter(state=S.INTERRUPTED, idempotent=True, changed_at__lt=settled)
    for action_id in waiting.values_list("pk", flat=True)[:BATCH]:
        with transaction.atomic():
            action = states.lock(action_id)
            if action.state == S.INTERRUPTED:
                states.move(action, to=S.READY, actor=states.AGENTSEC, body={"why": "the tool is idempotent"},
                            deadline=later.start_by(action, now=now, not_before=None))  # fmt: skip
                again += 1
    return again


def look_ahead(now: datetime) -> int:
    """Planned actions that something keeps from starting already: they end, or ask again, now."""
    found = PLANNED.due(now)
    for action_id in found:
        try:
            starting.look_ahead(action_id=action_id)
        except Refused as refused:
            logger.info("action %s: %s", action_id, refused.detail)
    return len(found)


def sweep(now: datetime) -> int:
    """Hand every action that may start to the workers, again if Redis forgot it."""
    startable = Action.objects.startable(now).filter(runs__in=execution.WORKER_KINDS)
    due = startable.filter(Q(changed_at__lt=now - timedelta(seconds=1)) | Q(not_before__isnull=False))
    ready = list(due.order_by("deadline")[:BATCH])
    for action in ready:
        jobs.enqueue(action)
    return len(ready)


def plan(now: datetime) -> int:
    """Statements that wait for people without their plan."""
    planning.give_up_lost(now)
    waiting = list(planning.wanted().order_by("deadline")[: planning.AT_ONCE])
    for action in waiting:
        jobs.enqueue_plan(action)
    return len(waiting)


def forget_keys(now: datetime) -> int:
    """Idempotency keys are kept for a day, then free again."""
    old = Action.objects.filter(created_at__lt=now - IDEMPOTENCY_KEPT).exclude(idempotency_key="")
    return old.update(idempotency_key="")


def forget_changes(now: datetime) -> int:
    """What pages that were away can no longer ask for."""
    return feed.forget(now)


def forget_standing(now: datetime) -> int:
    """What every room has looked at long since."""
    return standing.forget(now)


def shadow(now: datetime) -> int:
    """What the release in shadow, if one is, would have said of the latest calls."""
    return shadow_release.step(now=now)


def tend_keys(now: datetime) -> int:
    """Keys that sign tokens: the first one, those that are due for rotation, those that are over."""
    return signing_keys.tend(now)


# Every how many ticks each has its turn: at once what stops, starts or ends actions, rarely what only tidies.
PARTS: Mapping[Callable[[datetime], int], int] = {
    stop: 1,
    expire: 1,
    # Early, since somebody may have planned this very moment.
    sweep: 1,
    escalate: 2,
    stand_in: 2,
    end_allowances: 2,
    end_claims: 4,
    forget_looks: 2,
    recover: 2,
    reap: 1,
    resume: 1,
    look_ahead: 4,
    plan: 1,
    forget_keys: 120,
    forget_changes: 120,
    forget_standing: 120,
    shadow: 2,
    tend_keys: 20,
}
