"""How people decide: what was asked, what came of it and how long it took, by rule, group, agent and tool.

Counted by the database in one statement over the actions that asked somebody. What one person does is shown
to that person alone; of looks at cards nothing is told that fewer than three people stand behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from approvals.alike import APPROVED
from approvals.growth_models import Suggestion
from approvals.models import Vote
from approvals.vigilance import QUICK_MS
from policies.access import Verb, groups_overseen, may
from policies.models import User

PERIODS = (7, 30, 90)
BREAKDOWNS = ("rule", "group", "agent", "tool")
SORTS = ("name", "asked", "approved", "rejected", "expired", "edited", "median", "p90", "looked")
FEW = 3  # people: of fewer, a median is somebody's own
SHOWN = 200
STREAK = 20
_READ_VOTES = 20_000

_ASKED = """
WITH asked AS MATERIALIZED (
    SELECT a.tool, a.agent_id, a.approvals_json, a.revision > 1 AS edited, a.state = 'pending' AS waiting,
           a.state = ANY(%(approved)s) OR (a.state = 'expired' AND a.decided_by <> '') AS approved,
           a.state = 'rejected' AS rejected, a.state = 'expired' AND a.decided_by = '' AS expired,
           extract(epoch FROM v.at - a.created_at)::float8 AS took, v.seen_ms, v.looker
    FROM approvals_action a
    LEFT JOIN (
        SELECT DISTINCT ON (w.action_id) w.action_id, w.at, l.seen_ms,
               CASE WHEN l.seen_ms IS NOT NULL THEN w.user_id END AS looker
        FROM approvals_vote w LEFT JOIN approvals_look l ON l.vote_id = w.id
        WHERE NOT w.void AND w.at >= %(since)s ORDER BY w.action_id, w.at DESC
    ) v ON v.action_id = a.id AND a.state <> 'pending'
    WHERE a.created_at >= %(since)s AND a.approvals_json <> '[]'
      AND (%(groups)s::text[] IS NULL OR jsonb_exists_any(a.groups, %(groups)s))
), kinds AS (
    SELECT DISTINCT stored.approvals_json, item->>'group' AS who, rule
    FROM (SELECT DISTINCT approvals_json FROM asked) stored,
         jsonb_array_elements(stored.approvals_json::jsonb) item,
         unnest(string_to_array(item->>'rule', ', ')) rule
    WHERE %(groups)s::text[] IS NULL OR item->>'group' = ANY(%(groups)s)
)
"""
_COUNTS = """
count(*), count(*) FILTER (WHERE approved), count(*) FILTER (WHERE rejected), count(*) FILTER (WHERE expired),
count(*) FILTER (WHERE edited), count(*) FILTER (WHERE waiting),
percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY took),
percentile_cont(0.5) WITHIN GROUP (ORDER BY seen_ms), count(DISTINCT looker)
"""
# A rule or group counts an action once, however many of its questions name it.
_BY = {
    "rule": "asked JOIN (SELECT DISTINCT approvals_json, rule AS name FROM kinds) k USING (approvals_json)",
    "group": "asked JOIN (SELECT DISTINCT approvals_json, who AS name FROM kinds) k USING (approvals_json)",
    "agent": "asked JOIN (SELECT id AS agent_id, name FROM policies_agent) k USING (agent_id)",
    "tool": "(SELECT *, tool AS name FROM asked) k",
}
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

    @classmethod
    def read(cls, query: Mapping[str, str]) -> Wish:
        """Whatever an address may say; what makes no sense is the usual page."""
        days, by, sort = (query.get(name, "") for name in ("days", "by", "sort"))
        chosen = int(days) if days in map(str, PERIODS) else cls.days
        return cls(chosen, by if by in BREAKDOWNS else cls.by, sort if sort in SORTS else cls.sort)

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
    """The page: all in all, one breakdown, oneself, and for administrators everybody together."""

    wish: Wish
    groups: frozenset[str] | None
    total: Counted | None
    rows: tuple[Counted, ...]
    more: int
    own: Reviewing
    together: Reviewing | None


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
    shown = tuple(ordered[:SHOWN])
    return Insights(wish, groups, total, shown, len(ordered) - len(shown), own, together)


def _counted(
    wish: Wish, since: datetime, groups: frozenset[str] | None
) -> tuple[Counted | None, list[Counted]]:
    """All in all (None where nothing was asked), and by what the wish names."""
    said: dict[str, Any] = {
        "approved": list(APPROVED), "since": since, "groups": None if groups is None else sorted(groups),
    }  # fmt: skip
    statement = (
        f"{_ASKED} SELECT NULL, {_COUNTS} FROM asked"
        f" UNION ALL SELECT name, {_COUNTS} FROM {_BY[wish.by]} GROUP BY name"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, said)
        found = [_row(row) for row in cursor.fetchall()]
    total = next(row for row in found if row.name == "")
    return total if total.asked else None, [row for row in found if row is not total]


def _row(row: tuple[Any, ...]) -> Counted:
    name, asked, approved, rejected, expired, edited, waiting, took, seen, people = row
    median, p90 = took or (None, None)
    looked = seen / 1000 if seen is not None and people >= FEW else None
    return Counted(name or "", asked, approved, rejected, expired, edited, waiting, median, p90, looked)


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
