"""How people write a date that a tool takes as ISO 8601. Pure.

Only forms that can be read in one way: 03/04/2026 is March to some and April to others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

_MOMENT = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d:\d\d)(?::00)?Z?)?")
_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
    "november", "december",
)  # fmt: skip
_ORDINALS = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}


@dataclass(frozen=True)
class Moment:
    """The ways to write the day, best first, and the time of day (HH:MM), empty if there is none."""

    days: tuple[str, ...]
    time: str


def moment(value: str) -> Moment | None:
    """The spellings of an ISO date, or date and time to the minute; None for anything else."""
    found = _MOMENT.fullmatch(value.strip())
    if not found:
        return None
    try:
        day = date(int(found[1]), int(found[2]), int(found[3]))
    except ValueError:
        return None
    return Moment(tuple(_days(day)), found[4] or "")


def without_year(day: date) -> list[str]:
    """How people write the day and month alone, in lower case; which year is meant is for others to say."""
    name, said = _MONTHS[day.month - 1], []
    number, ordinal = str(day.day), f"{day.day}{_ORDINALS.get(day.day, 'th')}"
    for month in dict.fromkeys((name, name[:3])):
        for one in (number, ordinal):
            said += [f"{month} {one}", f"{month}. {one}", f"{one} {month}", f"{one} of {month}"]
    return said


def _days(day: date) -> list[str]:
    name, year = _MONTHS[day.month - 1], day.year
    number, ordinal = str(day.day), f"{day.day}{_ORDINALS.get(day.day, 'th')}"
    said = [f"{day.isoformat()}", f"{day.day}.{day.month}.{year}", f"{day.day:02}.{day.month:02}.{year}"]
    for month in dict.fromkeys((name, name[:3], f"{name[:3]}.")):
        for one in (number, ordinal):
            said += [f"{month} {one} {year}", f"{month} {one}, {year}", f"{one} {month} {year}"]
        said.append(f"{ordinal} of {month} {year}")
    if day.day > 12 or day.day == day.month:
        said += [f"{day.day:02}/{day.month:02}/{year}", f"{day.month:02}/{day.day:02}/{year}"]
    return said
