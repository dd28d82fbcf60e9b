"""Whom else a rule asks when the asked group does not decide in time: its steps, read and joined. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_STEPS = 5
_LINE = re.compile(r"\s*(?:after\s+)?(?P<after>\S+)\s+(?:to\s+)?(?P<to>\S.*?)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Step:
    """`after` so many seconds without a decision, members of `to` may answer for the asked group too."""

    after: int
    to: str


def steps(stored: Iterable[Mapping[str, Any]]) -> tuple[Step, ...]:
    """Stored steps as data, the earliest first. Raises KeyError or TypeError for anything else."""
    return tuple(sorted((Step(int(item["after"]), str(item["to"])) for item in stored), key=_when))


def plain(found: Iterable[Step]) -> list[dict[str, Any]]:
    """The same as JSON values."""
    return [{"after": step.after, "to": step.to} for step in found]


def lines(text: str) -> list[tuple[str, str]]:
    """(time, group) of each line of a form, such as `after 10m to leads`. Raises ValueError."""
    found = []
    for line in filter(str.strip, re.split(r"[\n;]", text)):
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"“{line.strip()}” is no step: write one a line, such as “10m leads”")
        found.append((match["after"], match["to"]))
    return found


def problems(found: Sequence[Step], *, approvers: str, expires_after: int) -> list[str]:
    """What is wrong with the steps of a rule that asks `approvers`; empty if nothing."""
    if not found:
        return []
    if approvers.startswith("@"):
        return ["nobody else can answer for the person whom the session serves, so it cannot escalate"]
    wrong = []
    if len(found) > MAX_STEPS:
        wrong.append(f"it escalates in at most {MAX_STEPS} steps")
    if any(step.to.startswith("@") or not step.to.strip() for step in found):
        wrong.append("it escalates to a group")
    names = [step.to for step in found]
    if approvers in names or len(set(names)) < len(names):
        wrong.append("each step names another group")
    if any(not 1 <= step.after < expires_after for step in found):
        wrong.append("it escalates before it expires: after less than the time that approval is waited for")
    return wrong


def joined(wishes: Sequence[Sequence[Step]], *, expires_after: int) -> tuple[Step, ...]:
    """What several rules that ask one group agree on: the groups that all of them name, at the latest of
    their times. Escalating lets more people decide, so the strictest wish is the one that lets in fewest.
    """
    by_group = [{step.to: step.after for step in wish} for wish in wishes]
    common = set.intersection(*map(set, by_group)) if by_group else set()
    latest = (Step(max(wish[to] for wish in by_group), to) for to in common)
    return tuple(sorted((step for step in latest if step.after < expires_after), key=_when))


def _when(step: Step) -> tuple[int, str]:
    return step.after, step.to
