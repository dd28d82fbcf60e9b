"""What a job did, as its sandbox watched it: masked, shown while it runs, and sealed in the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any

from django.db import transaction

from approvals import outputs, states
from approvals.models import Action, Execution
from approvals.sandbox import Noticed, Watched
from approvals.watch_models import JobWatch
from policies.firewall import known
from traces import record
from traces.problems import Refused

LISTS = {"opened": "file", "executed": "command", "connected": "connection"}
IN_SANDBOX = ("python", "shell")
UNKNOWN = Watched(gap="nobody knows what it did: its worker was gone before it told")
GROUP = 32
WITHHELD = Watched(gap="the firewall withheld what it did")


def described(watched: Watched) -> dict[str, Any]:
    """What was watched as JSON, known secrets masked: three lists of {what, how, times}, and the counts."""
    return asdict(_masked(watched))


def show(execution: Execution, watched: Watched) -> None:
    """Keep what a running job did so far, for pages, and for the log should its worker be killed. Of an
    execution that is over nothing is kept: its record is sealed.
    """
    found = described(watched)
    with transaction.atomic():
        if Execution.objects.select_for_update().filter(pk=execution.pk, ended_at=None).exists():
            JobWatch.objects.update_or_create(execution=execution, defaults={"found": found})


def seal(execution: Execution, action: Action, watched: Watched | None) -> None:
    """Keep what a job did and append `action.watched`: without a report, what was kept while it ran, and
    nothing for what runs in no sandbox. The caller holds the action's lock.
    """
    if watched is not None:
        _seal(execution, action, described(watched))
    elif kept := JobWatch.objects.filter(execution=execution).first():
        _seal(execution, action, {**kept.found, "cut_off": True})


def seal_cut_off(execution: Execution, action: Action) -> None:
    """Append `action.watched` with what is known of a job whose worker is gone: what was kept while it ran,
    or that nobody knows. The caller holds the action's lock, and ends this start.
    """
    seal(execution, action, None)
    if action.runs in IN_SANDBOX and not JobWatch.objects.filter(execution=execution).exists():
        _seal(execution, action, {**asdict(UNKNOWN), "cut_off": True})


def _seal(execution: Execution, action: Action, found: dict[str, Any]) -> None:
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
    cut = "; cut off, its end was not reported" if found.get("cut_off") else ""
    return ", ".join(_counted(len(found[kind]), noun) for kind, noun in LISTS.items()) + more + cut


def _counted(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _lines(found: Mapping[str, Any]) -> str:
    return "\n".join(f"{item['how']} {item['what']}" for kind in LISTS for item in found[kind])


def _masked(watched: Watched) -> Watched:
    """With what may not be told taken out of each item alone, so that none of them can hide the others."""
    items = [*watched.opened, *watched.executed, *watched.connected]
    try:
        values = known.current()
    except Refused:
        return WITHHELD
    with known.holding(values):
        texts = _without_values([item.what for item in items], values)
        told = [
            text
            for group in (tuple(texts[at : at + GROUP]) for at in range(0, len(texts), GROUP))
            for text in _inspected(group, values)
        ]
    safe = [Noticed(text, item.how, item.times) for text, item in zip(told, items, strict=True)]
    first, second = len(watched.opened), len(watched.opened) + len(watched.executed)
    return replace(
        watched,
        opened=tuple(safe[:first]),
        executed=tuple(safe[first:second]),
        connected=tuple(safe[second:]),
    )


def _without_values(texts: list[str], values: known.Known) -> list[str]:
    """Without the values of stored secrets, also those that a job spread over several items."""
    found, start = list(texts), 0
    spans = values.spans("\n".join(texts))
    for index, text in enumerate(texts):
        end = start + len(text)
        parts = [
            name
            for first, last, name in spans
            if first < end and last > start and not start <= first <= last <= end
        ]
        found[index] = known.written(parts[0]) if parts else text
        start = end + 1
    return found


@lru_cache(maxsize=4096)
def _inspected(texts: tuple[str, ...], values: known.Known) -> tuple[str, ...]:
    """Items as they may be told: together, which takes less time, and one by one where anything is found
    among them. While a job runs its list comes again and again.
    """
    joined = "\n".join(texts)
    safe = outputs.masked(joined)
    if safe == joined:
        return texts
    if len(texts) == 1:
        return (safe,)
    return tuple(told for text in texts for told in _inspected((text,), values))
