"""What a job did, as its sandbox watched it: masked, shown while it runs, and sealed in the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from approvals import outputs, states
from approvals.models import Action, Execution
from approvals.sandbox import Noticed, Watched
from approvals.watch_models import JobWatch
from traces import record

LISTS = {"opened": "file", "executed": "command", "connected": "connection"}
WITHHELD = Watched(gap="the firewall withheld what it did")


def described(watched: Watched) -> dict[str, Any]:
    """What was watched as JSON, known secrets masked: three lists of {what, how, times}, and the counts."""
    return asdict(_masked(watched))


def show(execution: Execution, watched: Watched) -> None:
    """Keep what a running job did so far, for pages. Nothing of it is in the log yet."""
    JobWatch.objects.update_or_create(execution=execution, defaults={"found": described(watched)})


def seal(execution: Execution, action: Action, watched: Watched | None) -> None:
    """Keep what a job did and append `action.watched`. Nothing for what runs in no sandbox. The caller holds
    the action's lock.
    """
    if watched is None:
        return
    found = described(watched)
    JobWatch.objects.update_or_create(execution=execution, defaults={"found": found})
    record.append(
        kind="action.watched", actor=states.AGENTSEC, session=action.session, action=str(action.pk),
        body={"fence": execution.fence, **found}, title=f"{action.tool}: {summary(found)}",
        text=_lines(found),
    )  # fmt: skip


def summary(found: Mapping[str, Any]) -> str:
    """In one line: how much a job did, or why nobody knows."""
    if found["gap"]:
        return str(found["gap"])
    more = " and more" if found["unlisted"] or found["unread"] else ""
    return ", ".join(_counted(len(found[kind]), noun) for kind, noun in LISTS.items()) + more


def _counted(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _lines(found: Mapping[str, Any]) -> str:
    return "\n".join(f"{item['how']} {item['what']}" for kind in LISTS for item in found[kind])


def _masked(watched: Watched) -> Watched:
    """All of it is inspected as one text, which takes no longer; each item is a line of it."""
    items = [*watched.opened, *watched.executed, *watched.connected]
    lines = outputs.masked("\n".join(item.what for item in items)).split("\n")
    if items and len(lines) != len(items):
        return WITHHELD
    safe = [Noticed(line, item.how, item.times) for line, item in zip(lines, items, strict=False)]
    first, second = len(watched.opened), len(watched.opened) + len(watched.executed)
    return Watched(
        tuple(safe[:first]), tuple(safe[first:second]), tuple(safe[second:]),
        watched.library_reads, watched.unlisted, watched.unread, watched.gap,
    )  # fmt: skip
