"""How people decide: what was asked, what came of it and how long it took, by rule, group, agent and tool.

Counted by the database in one statement over the actions that asked somebody. What one person does is shown
to that person alone; of looks at cards nothing is told that fewer than three people stand behind.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from approvals.alike import APPROVED
from approvals.growth_models import Suggestion
from approvals.models import Vote
from approvals.vigilance import QUICK_MS
from policies.access import Verb, groups_overseen, may
from policies.models import Agent, User

PERIODS = (7, 30, 90)
BREAKDOWNS = ("rule", "group", "agent", "tool")
SORTS = ("name", "asked", "approved", "rejected", "expired", "edited", "median", "p90", "looked")
FEW = 3  # people: of fewer, a median is somebody's own
SHOWN = 200
STREAK = 20
_READ_VOTES = 20_000
_PAGE = re.compile("[1-9][0-9]{0,5}")

# One pass over what was asked. Times are told in steps of a twentieth of a natural logarithm, about 5 %, so
# that what stands under several rules or groups is added up here instead of being sorted again there.
_STEP = 20
_COUNTED = """
SELECT {key}, outcome, edited, took, seen, bit_or(lookers), count(*), grouping(outcome) FROM (
    SELECT a.{key}, a.revision > 1 AS edited, v.lookers,
        CASE WHEN a.state = ANY(%(approved)s) OR (a.state = 'expired' AND a.decided_by <> '') THEN 'approved'
             ELSE a.state END AS outcome,
        CASE WHEN a.state <> 'pending' THEN
             floor(ln(greatest(date_part('epoch', v.at - a.created_at), 0.1)) * {step})::int END AS took,
        CASE WHEN a.state <> 'pending' THEN
             floor(ln(greatest(v.seen_ms * 0.001::float8, 0.1)) * {step})::int END AS seen
    FROM approvals_action a LEFT JOIN (
        SELECT w.action_id, max(w.at) AS at, max(l.seen_ms) AS seen_ms,
            bit_or(CASE WHEN l.seen_ms IS NOT NULL THEN 1::bigint << (w.user_id %% 63)::int END) AS lookers
        FROM approvals_vote w LEFT JOIN approvals_look l ON l.vote_id = w.id
        WHERE NOT w.void AND w.at >= %(since)s GROUP BY w.action_id
    ) v ON v.action_id = a.id
    WHERE a.created_at >= %(since)s AND a.approvals_json <> '[]'
      AND (%(groups)s::text[] IS NULL OR jsonb_exists_any(a.groups, %(groups)s))
) found GROUP BY GROUPING SETS (({key}, outcome, edited, took), ({key}, seen))
"""
_KEYS = {"rule": "approvals_json", "group": "approvals_json", "agent": "agent_id", "tool": "tool"}
_PEOPLE = """
SELECT count(*), count(*) FILTER (WHERE l.seen_ms IS NOT NULL), count(DISTINCT v.user_id),
       percentile_cont(0.5) WITHIN GROUP (ORDER BY l.seen_ms),
       count(*) FILTER (WHERE l.risky AND l.seen_ms < %(quick)s AND v.verdict = 'approve')
FROM approvals_vote v LEFT JOIN approvals_look l ON l.vote_id = v.id
WHERE v.at >= %(since)s AND NOT v.void AND (%(user)s::bigint IS NULL OR v.user_id = %(user)s)
"""


@dataclass(frozen=True)
class Wish:
    """What the address asks for."""

    days: int = 30
    by: str = "rule"
    sort: str = "asked"
    page: int = 1

    @classmethod
    def read(cls, query: Mapping[str, str]) -> Wish:
        """Whatever an address may say; what makes no sense is the usual page."""
        days, by, sort, page = (query.get(name, "") for name in ("days", "by", "sort", "page"))
        chosen = int(days) if days in map(str, PERIODS) else cls.days
        return cls(
            chosen, by if by in BREAKDOWNS else cls.by, sort if sort in SORTS else cls.sort,
            int(page) if _PAGE.fullmatch(page) else cls.page,
        )  # fmt: skip

    @property
    def since(self) -> datetime:
        return timezone.now() - timedelta(days=self.days)


@dataclass(frozen=True)
class Counted:
    """What became of what was asked. Times in seconds; `looked` only where enough people stand behind it."""

    name: str
    asked: int
    approved: int
    rejected: int
    expired: int
    edited: int
    waiting: int
    median: float | None
    p90: float | None
    looked: float | None
    suggestion: int | None = None

    @property
    def other(self) -> int:
        return self.asked - self.approved - self.rejected - self.expired - self.waiting

    @property
    def always(self) -> str:
        """In words where everything that was decided was approved as it was; empty where not."""
        unanimous = self.approved >= STREAK and not (self.rejected or self.edited or self.expired)
        return "always approved" if unanimous else ""

    @property
    def bar(self) -> tuple[tuple[str, int, int], ...]:
        """Stretches of a bar of 100: the look of each, where it begins and how long it is."""
        parts = (("ok", self.approved), ("danger", self.rejected), ("muted", self.expired))
        done, found = 0, []
        for look, count in parts:
            start, done = round(100 * done / self.asked), done + count
            found.append((look, start, round(100 * done / self.asked) - start))
        return tuple(found)


@dataclass(frozen=True)
class Reviewing:
    """How one person decides, or all of them together. `looked` is a median in seconds."""

    decisions: int
    measured: int
    people: int
    looked: float | None
    quick: int
    streak: int = 0

    @property
    def streaky(self) -> str:
        return f"{self.streak} approvals in a row" if self.streak >= STREAK else ""


@dataclass(frozen=True)
class Insights:
    """The page: all in all, one breakdown, oneself, and for administrators everybody together.

    Of `names` rows in all, `rows` are those from `first` on.
    """

    wish: Wish
    groups: tuple[str, ...] | None
    total: Counted | None
    rows: tuple[Counted, ...]
    names: int
    page: int
    own: Reviewing
    together: Reviewing | None

    @property
    def first(self) -> int:
        return (self.page - 1) * SHOWN + 1

    @property
    def last(self) -> int:
        return self.first + len(self.rows) - 1


def insights(user: User, wish: Wish) -> Insights:
    """What this person may know of how people decide. Five queries at most, however much was asked."""
    groups = groups_overseen(user)
    since = wish.since
    total, rows = _counted(wish, since, groups)
    ordered = _ordered(_with_suggestions(user, rows) if wish.by == "rule" else rows, wish.sort)
    own = _reviewing(since, user.pk)
    together = _reviewing(since, None) if may(user, Verb.PEOPLE_EDIT).allowed else None
    if together is not None and together.people < FEW:
        together = None
    page = min(wish.page, max(1, math.ceil(len(ordered) / SHOWN)))
    shown = tuple(ordered[(page - 1) * SHOWN : page * SHOWN])
    mine = None if groups is None else tuple(sorted(groups))
    return Insights(wish, mine, total, shown, len(ordered), page, own, together)


@dataclass
class _Tally:
    """What is added up under one name: outcomes, and how often which step of time."""

    outcomes: Counter[str] = field(default_factory=Counter)
    edited: int = 0
    took: Counter[int] = field(default_factory=Counter)
    seen: Counter[int] = field(default_factory=Counter)
    lookers: int = 0  # a bit for some of the people: where it counts three, there are three or more

    def told(self, name: str) -> Counted:
        outcomes = self.outcomes
        return Counted(
            name=name, asked=outcomes.total(), approved=outcomes["approved"], rejected=outcomes["rejected"],
            expired=outcomes["expired"], edited=self.edited, waiting=outcomes["pending"],
            median=_quantile(self.took, 0.5), p90=_quantile(self.took, 0.9),
            looked=_quantile(self.seen, 0.5) if self.lookers.bit_count() >= FEW else None,
        )  # fmt: skip


def _counted(
    wish: Wish, since: datetime, groups: frozenset[str] | None
) -> tuple[Counted | None, list[Counted]]:
    """All in all (None where nothing was asked), and by what the wish names."""
    said: dict[str, Any] = {
        "approved": list(APPROVED), "since": since, "groups": None if groups is None else sorted(groups),
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(_COUNTED.format(key=_KEYS[wish.by], step=_STEP), said)
        found = cursor.fetchall()
    names, total, tallies = _naming(wish.by, groups), _Tally(), defaultdict[str, _Tally](_Tally)
    known: dict[Any, tuple[_Tally, ...]] = {}
    for key, *row in found:
        if key not in known:
            known[key] = (total, *(tallies[name] for name in names(key)))
        for tally in known[key]:
            _add(tally, *row)
    rows = [tally.told(name) for name, tally in tallies.items()]
    return total.told("") if found else None, rows


def _add(
    tally: _Tally, outcome: str, edited: bool, took: int, seen: int, lookers: int, count: int, by_seen: int
) -> None:
    """Add one row, which tells either of outcomes and times or of looks."""
    if by_seen:
        tally.lookers |= lookers or 0
        if seen is not None:
            tally.seen[seen] += count
        return
    tally.outcomes[outcome] += count
    tally.edited += count if edited else 0
    if took is not None:
        tally.took[took] += count


def _naming(by: str, groups: frozenset[str] | None) -> Callable[[Any], Iterable[str]]:
    """From what a row is stored under to the names it counts for, each once."""
    if by == "tool":
        return lambda tool: (tool,)
    if by == "agent":
        agents = dict(Agent.objects.values_list("pk", "name"))
        return lambda key: (agents[key],)

    def asked(stored: str) -> Iterable[str]:
        items = [item for item in json.loads(stored) if groups is None or item["group"] in groups]
        if by == "group":
            return {item["group"] for item in items}
        return {name for item in items for name in item["rule"].split(", ")}

    return asked


def _quantile(steps: Counter[int], share: float) -> float | None:
    """The time below which this share lies, as the middle of its step; None where there is none."""
    rank, passed = share * steps.total(), 0
    for step in sorted(steps):
        passed += steps[step]
        if passed >= rank:
            return math.exp((step + 0.5) / _STEP)
    return None


def _ordered(rows: Iterable[Counted], sort: str) -> list[Counted]:
    by_name = sorted(rows, key=lambda row: row.name)
    if sort == "name":
        return by_name
    return sorted(
        by_name, key=lambda row: -1.0 if getattr(row, sort) is None else getattr(row, sort), reverse=True
    )


def _with_suggestions(user: User, rows: Iterable[Counted]) -> list[Counted]:
    """Each rule with the suggestion that would spare its question, for who may read those."""
    if not may(user, Verb.POLICY_READ).allowed:
        return list(rows)
    offered = (
        Suggestion.objects.filter(state=Suggestion.State.OFFERED).order_by("-pk").values_list("pk", "rules")
    )
    known = {rule: key for key, rules in offered for rule in rules}
    return [_suggested(row, known.get(row.name)) for row in rows]


def _suggested(row: Counted, key: int | None) -> Counted:
    return Counted(**{**vars(row), "suggestion": key})


def _reviewing(since: datetime, user_id: int | None) -> Reviewing:
    with connection.cursor() as cursor:
        cursor.execute(_PEOPLE, {"since": since, "user": user_id, "quick": QUICK_MS})
        decisions, measured, people, seen, quick = cursor.fetchone()
    streak = _streak(since, user_id) if user_id is not None else 0
    return Reviewing(decisions, measured, people, None if seen is None else seen / 1000, quick, streak)


def _streak(since: datetime, user_id: int) -> int:
    """The longest run of approvals each of which had less than two seconds."""
    votes = Vote.objects.filter(user=user_id, at__gte=since, void=False).order_by("-at")
    longest = run = 0
    for verdict, seen in votes.values_list("verdict", "look__seen_ms")[:_READ_VOTES]:
        run = run + 1 if verdict == Vote.Verdict.APPROVE and seen is not None and seen < QUICK_MS else 0
        longest = max(longest, run)
    return longest
