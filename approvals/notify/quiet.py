"""Quiet hours: by the wall clock of a time zone, across midnight and changes of the clock. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones


@lru_cache(maxsize=1)
def zones() -> tuple[str, ...]:
    """The names of time zones that a person may choose."""
    return tuple(sorted(name for name in available_timezones() if "/" in name or name == "UTC"))


def until(now: datetime, *, zone: str, start: time | None, end: time | None) -> datetime | None:
    """When the quiet hours end in which `now` lies; None where it lies in none."""
    if start is None or end is None or start == end:
        return None
    local = now.astimezone(ZoneInfo(zone))
    clock = local.time()
    across = start > end
    inside = (clock >= start or clock < end) if across else start <= clock < end
    if not inside:
        return None
    day = local.date() + timedelta(days=1 if across and clock >= start else 0)
    ends = datetime.combine(day, end, tzinfo=ZoneInfo(zone))
    if ends.astimezone(UTC) <= now:
        # The clock is put back in this hour, and the first of the two ends is over.
        ends = ends.replace(fold=1)
    ends = ends.astimezone(UTC)
    return ends if ends > now else None
