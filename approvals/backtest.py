"""A draft against the calls of the last days: started once, judged step by step, kept with its progress.

Each step judges for about a second and stores where it stands, so that a page can show its progress, a
restart loses nothing, and nobody waits for it once nobody looks.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from approvals.models import Action, Backtest
from policies import backtest, releases
from policies.arguments import canonical, digest
from policies.backtest import REST, Change, Difference, Past
from policies.models import Release
from policies.releases import Active
from policies.rules import RELEASE_DOMAIN, RuleSpec
from policies.tooling import ToolDef
from policies.untouched import Untouched
from traces.problems import Refused

MAX_DAYS = 365
STEP_SECONDS = 1.0
KEPT = timedelta(days=7)
_CHUNK = 1000
_TABLE = Action._meta.db_table


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

    @property
    def look(self) -> str:
        """How the page says it: alarming, looser somewhere, or neither."""
        if self.alarming:
            return "danger"
        return "warn" if any(change.looser for change in self.others) else "info"


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
    draft = _draft(row.release, row.content)
    active = draft.active
    difference = Difference.from_json(json.loads(row.difference_json))
    going = True  # however slow the machine, each step gets on by one chunk
    while going:
        found = list(_chunk(row, draft))
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


def _chunk(row: Backtest, draft: _Draft) -> Iterator[tuple[Past, datetime]]:
    """The next calls in the order of time, each with its time. Of those that the draft does not touch, facts
    and verdict are left where they are: they are most of what there is to read.
    """
    # The plain bound lets the index start there; the disjunction alone would be read as a filter.
    rows = Action.objects.filter(created_at__gte=row.last_at, created_at__lte=row.until)
    rows = rows.filter(Q(created_at__gt=row.last_at) | Q(id__gt=row.last_id)).order_by("created_at", "id")
    found = list(rows.values_list("id", "created_at", "release", "tool", "state")[:_CHUNK])
    passed = {key for key, _, release, tool, _ in found if draft.passes(release, tool)}
    told = _told([key for key, *_ in found if key not in passed])
    for key, when, _, _, state in found:
        facts, verdict = told.get(key, ("", ""))
        rejected = state == Action.State.REJECTED
        yield Past(str(key), facts, verdict, rejected=rejected, untouched=key in passed), when


def _told(keys: list[UUID]) -> dict[UUID, tuple[str, str]]:
    """Facts of these calls, and of their verdicts what a backtest reads."""
    # One array and not a thousand parameters, which take longer to write down than the rows to read.
    query = f"SELECT id, facts_json, split_part(verdict_json, %s, 1) || %s FROM {_TABLE} WHERE id = ANY(%s)"
    with connection.cursor() as cursor:
        cursor.execute(query, [REST, REST, keys])
        return {key: (facts, verdict) for key, facts, verdict in cursor}


@dataclass(frozen=True)
class _Draft:
    """The draft of a backtest, ready to judge, and what it leaves untouched of each release."""

    active: Active
    untouched: dict[str, Untouched | None] = field(default_factory=dict)

    def passes(self, release: str, tool: str) -> bool:
        """Whether calls of this tool that this release judged come out as they did."""
        if release not in self.untouched:
            self.untouched[release] = self._compare(release)
        known = self.untouched[release]
        return known is not None and known.holds(tool)

    def _compare(self, release: str) -> Untouched | None:
        # One that is gone, or is not what its digest says, vouches for nothing.
        row = Release.objects.filter(digest=release).first()
        content = json.loads(row.content) if row else {}
        if not row or digest(RELEASE_DOMAIN, content) != release:
            return None
        before = (
            [RuleSpec.from_json(rule) for rule in content["rules"]],
            {tool["name"]: ToolDef.from_json(tool) for tool in content["tools"]},
        )
        return Untouched(before=before, after=(self.active.compiled.rules, self.active.tools))


@lru_cache(maxsize=4)
def _draft(frozen: str, content: str) -> _Draft:
    stored: dict[str, Any] = json.loads(content)
    active = releases.activate(stored)
    if active.digest != frozen:
        raise Refused("unavailable", "This backtest's draft was altered: it does not match its digest.")
    return _Draft(active)
