"""The reaper: grants end when their time is over, even if every process was down at that moment.

It has a thread of its own beside the clock. An issuer that does not answer takes its time, and nothing else
of what time brings may wait for that.
"""

from __future__ import annotations

import logging
import threading
from datetime import datetime, timedelta

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connections
from django.db.models import QuerySet

from approvals import concerns, results
from approvals.models import Action
from policies import grants
from policies.models import Grant
from traces import dbtime

S = Action.State
TICK_SECONDS = 0.5
BATCH = 200
logger = logging.getLogger(__name__)


def run(stop: threading.Event) -> None:
    """Reap until told to stop; a database that is away is waited for."""
    while not stop.wait(TICK_SECONDS):
        try:
            reap(dbtime.now())
        except DatabaseError as error:
            logger.warning("the reaper waits for the database: %s", str(error).splitlines()[0])
            connections.close_all()
        except Exception:
            logger.exception("the reaper stumbled")
        finally:
            close_old_connections()
    connections.close_all()


def start(stop: threading.Event) -> threading.Thread:
    """The reaper's thread, running."""
    thread = threading.Thread(target=run, args=(stop,), name="reaper", daemon=True)
    thread.start()
    return thread


def reap(now: datetime) -> int:
    """End each grant that is due, settle the actions that waited under them, and say which cannot be ended;
    how many ended. Where an issuer's service fails once, its other grants wait for the next turn.
    """
    ended, failing = 0, set()
    for grant in [*Grant.objects.due(now)[:BATCH], *_orphans(now)[:BATCH]]:
        service = (grant.issuer, str(grant.scope.get("source", "")))
        if service in failing:
            continue
        if grants.revoke(grant=grant, why=grant.why or _why(grant, now)):
            results.settle(grant)
            ended += 1
        else:
            failing.add(service)
    _settle_rest()
    concerns.note_stuck()
    return ended


def _orphans(now: datetime) -> QuerySet[Grant]:
    """Grants of actions that do not run any more: whoever should have ended them is gone."""
    running = Action.objects.filter(state=S.RUNNING)
    alive = Grant.objects.alive().filter(retry_at=None).exclude(action_id__in=running.values("pk"))
    return alive.filter(minted_at__lt=now - timedelta(seconds=settings.AGENTSEC_STALE_SECONDS))


def _why(grant: Grant, now: datetime) -> str:
    return "its time was over" if grant.expires_at <= now else "its action is over"


def _settle_rest() -> None:
    """Actions whose grant ended while nobody was there to say so."""
    unsettled = Action.objects.filter(state=S.RUNNING, runs__in=("agent", "credential"))
    over = Grant.objects.filter(state=Grant.State.REVOKED, action_id__in=unsettled.values("pk"))
    for grant in over[:BATCH]:
        results.settle(grant)
