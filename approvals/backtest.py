"""A draft against the calls of the last days: started once, judged step by step, kept with its progress.

Each step judges for about a second and stores where it stands, so that a page can show its progress, a
restart loses nothing, and nobody waits for it once nobody looks.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from approvals.models import Action, Backtest
from policies import backtest, releases
from policies.arguments import canonical
from policies.backtest import Change, Difference, Past
from policies.releases import Active
from traces.problems import Refused

MAX_DAYS = 365
STEP_SECONDS = 1.0
KEPT = timedelta(days=7)
_CHUNK = 1000
_COLUMNS = ("id", "created_at", "facts_json", "verdict_json", "state")


@dataclass(frozen=True)
class Progress:
    """A backtest as it stands: `percent` of its calls judged, and what is different so far."""

    row: Backtest
    difference: Difference
    stale: bool

    @property
    def done(self) -> bool:
        return self.row.ended_at is not None

    @property
    def percent(self) -> int:
        if self.done or not self.row.total:
            return 100
        return min(99, self.difference.judged * 100 // self.row.total)

    @property
    def rejected(self) -> list[Change]:
        return self.difference.changes(rejected=True)

    @property
    def others(self) -> list[Change]:
        return self.difference.changes(rejected=False)

    @property
    def alarming(self) -> int:
        """Calls that people rejected and the draft would let pass more easily."""
        return sum(change.group.count for change in self.rejected if change.looser)


def start(*, days: int, by: str) -> Backtest:
    """Freeze the draft as it is and count the calls of the last `days`; nothing is judged yet.

    Forgets backtests of more than a week ago. Raises Refused("invalid") where the draft does not compile, or
    for a number of days that is not 1 to 365.
    """
    if not 1 <= days <= MAX_DAYS:
        raise Refused("invalid", f"A backtest looks back 1 to {MAX_DAYS} days.")
    content = releases.draft_content()
    active = releases.activate(content)
    until = timezone.now()
    since = until - timedelta(days=days)
    Backtest.objects.filter(started_at__lt=until - KEPT).delete()
    return Backtest.objects.create(
        release=active.digest, content=canonical(content).decode(), since=since, until=until, last_at=since,
        total=Action.objects.filter(created_at__gte=since, created_at__lte=until).count(),
        difference_json=json.dumps(Difference().to_json()), by=by,
    )  # fmt: skip


def step(*, backtest_id: int, seconds: float = STEP_SECONDS) -> Progress:
    """Judge on for about `seconds`. Locks the backtest's row, so that two pages never count a call twice.

    Raises Refused("not_found") where it was forgotten.
    """
    with transaction.atomic():
        row = Backtest.objects.select_for_update().filter(pk=backtest_id).first()
        if row is None:
            raise Refused("not_found", "There is no such backtest any more.")
        if row.ended_at is None:
            _judge_on(row, until=time.monotonic() + seconds)
    return progress(row)


def progress(row: Backtest) -> Progress:
    """How far it is; `stale` where the draft has changed since it began."""
    difference = Difference.from_json(json.loads(row.difference_json))
    current = canonical(releases.draft_content()).decode()
    return Progress(row, difference, stale=current != row.content)


def latest() -> Progress | None:
    """The newest backtest, if one is kept."""
    row = Backtest.objects.first()
    return progress(row) if row else None


def of_release(digest: str) -> Progress | None:
    """The newest backtest of the draft that has this digest, if one is kept."""
    row = Backtest.objects.filter(release=digest).first()
    return progress(row) if row else None


def get(backtest_id: int) -> Progress:
    """Raises Refused("not_found")."""
    row = Backtest.objects.filter(pk=backtest_id).first()
    if row is None:
        raise Refused("not_found", "There is no such backtest any more.")
    return progress(row)


def _judge_on(row: Backtest, *, until: float) -> None:
    active = _active(row.release, row.content)
    difference = Difference.from_json(json.loads(row.difference_json))
    going = True  # however slow the machine, each step gets on by one chunk
    while going:
        found = list(_chunk(row.last_at, row.last_id, row.until))
        backtest.judge(
            (past for past, _ in found), compiled=active.compiled, tools=active.tools, into=difference
        )
        if found:
            last, row.last_at = found[-1]
            row.last_id = UUID(last.action)
        if len(found) < _CHUNK:
            row.ended_at = timezone.now()
        going = row.ended_at is None and time.monotonic() < until
    row.difference_json = json.dumps(difference.to_json())
    row.save(update_fields=["last_at", "last_id", "difference_json", "ended_at"])


def _chunk(at: datetime, key: UUID, until: datetime) -> Iterator[tuple[Past, datetime]]:
    """The next calls in the order of time, each with its time."""
    # The plain bound lets the index start there; the disjunction alone would be read as a filter.
    rows = Action.objects.filter(created_at__gte=at, created_at__lte=until)
    rows = rows.filter(Q(created_at__gt=at) | Q(id__gt=key)).order_by("created_at", "id")
    for found, when, facts, verdict, state in rows.values_list(*_COLUMNS)[:_CHUNK]:
        yield Past(str(found), facts, verdict, rejected=state == Action.State.REJECTED), when


@lru_cache(maxsize=4)
def _active(digest: str, content: str) -> Active:
    stored: dict[str, Any] = json.loads(content)
    active = releases.activate(stored)
    if active.digest != digest:
        raise Refused("unavailable", "This backtest's draft was altered: it does not match its digest.")
    return active
