"""What time it is, by the database: the one clock where several machines decide together.

A machine's own clock may be minutes off, or be set while it runs. A deadline and the end of a privilege are
written and read by several of them, so each reads the time off the database and counts on from there by a
clock that nobody sets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import DatabaseError, connection
from django.utils import timezone

# A steady clock strays by less than 0.05 % of this, far less than a round trip to the database takes.
READ_AGAIN_SECONDS = 30.0
# Unlike the monotonic clock it goes on while the machine sleeps.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@dataclass(frozen=True)
class _Anchor:
    """A time of the database, and what the steady clock said then."""

    at: datetime
    steady: float

    def now(self) -> datetime:
        return self.at + timedelta(seconds=steady() - self.steady)


_read: Callable[[], datetime] | None = None
_anchor: _Anchor | None = None


def steady() -> float:
    """Seconds of a clock that nobody sets; its beginning means nothing."""
    return time.clock_gettime(_STEADY)


def now() -> datetime:
    """The database's time, aware; this process's own before `follow` was called.

    Reads it off the database where it did so long ago, never within a coroutine. Raises DatabaseError where
    it was never read and cannot be: nothing is decided by a clock that may be wrong.
    """
    if _read is None:
        return timezone.now()
    if _anchor is None or steady() - _anchor.steady > READ_AGAIN_SECONDS:
        _look(_read)
    return _anchor.now() if _anchor is not None else timezone.now()


def follow(read: Callable[[], datetime] | None) -> None:
    """Go by what this reads from here on; by this process's own clock where it is None."""
    global _read, _anchor
    _read, _anchor = read, None


def of_database() -> datetime:
    """The database's time at this moment, also within a transaction. Raises DatabaseError."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        found: datetime = cursor.fetchone()[0]
    return found


def skew() -> float:
    """Seconds by which this process's own clock is ahead of the database's. Raises DatabaseError."""
    before = timezone.now()
    found = of_database()
    return (before + (timezone.now() - before) / 2 - found).total_seconds()


def _look(read: Callable[[], datetime]) -> None:
    """Read it anew; where that is not possible now, an older reading goes on to hold."""
    global _anchor
    if _in_coroutine() or connection.needs_rollback:
        return
    before = steady()
    try:
        found = read()
    except DatabaseError:
        if _anchor is None:
            raise
        return
    _anchor = _Anchor(found, (before + steady()) / 2)


def _in_coroutine() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
