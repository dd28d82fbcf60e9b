"""What the firewall knows of stored secrets: read from the store whenever it has changed.

The values are opened, made into an automaton and let go. Whoever cannot open one of them gets no answer, so
that no text goes on unread; the log alone, whose entries must not be lost, makes do with the others.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError, connection

from policies import sealing
from policies.firewall import known
from policies.firewall.known import Known
from policies.secret_models import PastValue, Secret
from traces import record
from traces.problems import Refused

RECENT_SECONDS = 1.0
# Sums of random numbers: rows that came, went or were replaced, in whatever order they were committed.
_CHANGED = """
SELECT count(*), coalesce(sum(version), 0), (SELECT count(*) FROM policies_pastvalue),
    (SELECT coalesce(sum(version), 0) FROM policies_pastvalue) FROM policies_secret
"""
Mark = tuple[int, ...]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Read:
    """What was known at a time; `unread` names a secret that does not open."""

    mark: Mark
    known: Known
    unread: str
    at: float


_lock = threading.Lock()
_last: list[_Read] = []


def exact() -> Known:
    """Every value, as the store is now. One short query where nothing changed.

    Raises Refused("unavailable") where one does not open, and what the database raises.
    """
    read = _read()
    if read.unread:
        raise Refused("unavailable", f"the secret “{read.unread}” does not open under this instance's key")
    return read.known


def recent() -> Known:
    """As `exact`, but up to a second old, and without what does not open: for the log and for answers, into
    which nothing should come that was not masked before.
    """
    last = _last[0] if _last else None
    if last is not None and time.monotonic() - last.at < RECENT_SECONDS:
        return last.known
    return _read().known


def forget() -> None:
    """Read anew at the next question; for whoever changes the store in this process."""
    _last.clear()


def _read() -> _Read:
    mark, now = _mark(), time.monotonic()
    with _lock:
        last = _last[0] if _last else None
        if last is not None and last.mark == mark:
            read = _Read(mark, last.known, last.unread, now)
        else:
            values, unread = _opened(_rows())
            read = _Read(mark, Known(values), unread, now)
        _last[:] = [read]
        known.remember(read.known)
    return read


def _mark() -> Mark:
    with connection.cursor() as cursor:
        cursor.execute(_CHANGED)
        row = cursor.fetchone()
    return tuple(int(number) for number in row)


def _rows() -> Iterator[tuple[str, bytes]]:
    for model in (Secret, PastValue):
        for name, sealed in model.objects.values_list("name", "sealed"):
            yield name, bytes(sealed)


def _opened(rows: Iterable[tuple[str, bytes]]) -> tuple[list[tuple[str, str]], str]:
    found, unread = [], ""
    for name, sealed in rows:
        try:
            found.append((name, sealing.opened(name, sealed)))
        except Refused:
            unread = unread or name
    return found, unread


def guarded(value: Any) -> Any:
    """A JSON value as it may be written into the log. Never raises: an event must not be lost for this."""
    try:
        return recent().masked_json(value)
    except DatabaseError:
        raise
    except Exception:
        logger.exception("the log's guard failed")
        return value


known.read_from(exact)
record.guard_with(guarded)
