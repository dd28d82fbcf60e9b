"""What time lets grow: last use is gathered, suggestions and proposals are looked for. Slow work, in a thread
of its own beside the clock, whose every tick something waits for.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta

from django.db import DatabaseError, close_old_connections, connections, transaction
from django.db.models import Q
from django.utils import timezone

from approvals import concerns, lastuse, promotion, suggest
from approvals.growth_models import Chore
from approvals.notify import sending
from policies import secrets
from traces.problems import Refused

TICK_SECONDS = 20.0
EVERY = timedelta(hours=1)
# Chunks of new actions in one turn: a backlog of years is worked off in turns.
CHUNKS = 50
logger = logging.getLogger(__name__)


def run(stop: threading.Event) -> None:
    """Tend until told to stop; a database that is away is waited for."""
    while not stop.wait(TICK_SECONDS):
        try:
            tend(stop)
        except DatabaseError as error:
            logger.warning("growth waits for the database: %s", str(error).splitlines()[0])
            connections.close_all()
        except Exception:
            logger.exception("growth stumbled")
        finally:
            close_old_connections()
    connections.close_all()


def tend(stop: threading.Event | None = None) -> None:
    """Gather what is new; once an hour, by one of several clocks, look for suggestions and proposals."""
    for _ in range(CHUNKS):
        if lastuse.gather() < lastuse.CHUNK or (stop is not None and stop.is_set()):
            break
    for name, work in _HOURLY.items():
        if _claimed(name):
            _do(name, work)


def _do(name: str, work: Callable[[], object]) -> None:
    try:
        work()
    except Refused as refused:
        logger.info("%s: %s", name, refused.detail)


def _claimed(name: str) -> bool:
    """Whether this process is the one that does it now."""
    now = timezone.now()
    with transaction.atomic():
        Chore.objects.get_or_create(name=name)
        due = Chore.objects.filter(Q(done_at=None) | Q(done_at__lte=now - EVERY), name=name)
        return due.update(done_at=now) == 1


_HOURLY: dict[str, Callable[[], object]] = {suggest.CHORE: suggest.find, "trust": promotion.find,
                                          "notices": sending.forget, "credentials": concerns.note_expiring,
                                          "secrets": secrets.forget_past}  # fmt: skip
