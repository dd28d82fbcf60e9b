"""Decisions that people made alike: the same agent, the same tool, asked by the same rules.

What was asked is known by `approvals_json` (groups, quorum, rules), so no verdict has to be read to count.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, Max, Min, Q, QuerySet
from django.utils import timezone

from approvals.models import Action, ActionQuerySet, Vote
from approvals.word_models import USER

S = Action.State
APPROVED = (S.READY, S.RUNNING, S.SUCCEEDED, S.FAILED, S.INTERRUPTED)
NOBODY_ASKED = "[]"
_LOOKED_AT = 500


@dataclass(frozen=True)
class Alike:
    """How people decided one kind of call. `asked` is the stored question, `rules` whose it was."""

    agent_id: int
    tool: str
    asked: str
    rules: tuple[str, ...]
    approved: int
    rejected: int
    edited: int
    first: datetime
    last: datetime

    def calls(self) -> ActionQuerySet:
        """The calls of this kind that were approved as proposed, newest first."""
        rows = Action.objects.filter(agent_id=self.agent_id, tool=self.tool, approvals_json=self.asked)
        rows = rows.filter(state__in=APPROVED, revision=1, created_at__gte=since())
        return rows.filter(pk__in=Vote.objects.filter(void=False, verdict="approve").values("action"))


@dataclass(frozen=True)
class Told:
    """How like calls were decided, for the card of one action."""

    approved: int
    rejected: int
    edited: int
    days: int


def since() -> datetime:
    """How far back decisions still count."""
    return timezone.now() - timedelta(days=settings.AGENTSEC_SUGGEST["days"])


def groups() -> list[Alike]:
    """Every kind of call that people decided, the most often approved first. One query."""
    start = since()
    voted = Vote.objects.filter(at__gte=start).values("action")
    decided = Action.objects.filter(pk__in=voted, created_at__gte=start)
    # What one user agreed to says nothing of what another would.
    decided = decided.exclude(groups__contains=[USER])
    rows = _counted(decided.values_list("agent_id", "tool", "approvals_json"))
    found = [
        Alike(agent, tool, asked, rules_of(asked), approved, rejected, edited, first, last)
        for agent, tool, asked, approved, rejected, edited, first, last in rows
    ]
    return sorted(found, key=lambda kind: (-kind.approved, kind.agent_id, kind.tool, kind.rules))


def told(action: Action) -> Told | None:
    """How people decided calls like this one before; None where none was decided or nobody is asked."""
    if action.approvals_json == NOBODY_ASKED or action.revision > 1:
        return None
    rows = Action.objects.filter(agent=action.agent_id, tool=action.tool, created_at__gte=since())
    rows = rows.filter(approvals_json=action.approvals_json).exclude(pk=action.pk).order_by("-created_at")
    counts = Action.objects.filter(pk__in=rows.values("pk")[:_LOOKED_AT]).aggregate(
        approved=_APPROVED, rejected=_REJECTED, edited=_EDITED
    )
    return Told(**counts, days=settings.AGENTSEC_SUGGEST["days"]) if any(counts.values()) else None


def rules_of(asked: str) -> tuple[str, ...]:
    """The rules that a stored question names, sorted."""
    return tuple(sorted({name for item in json.loads(asked) for name in item["rule"].split(", ")}))


_APPROVED = Count("pk", filter=Q(state__in=APPROVED))
_REJECTED = Count("pk", filter=Q(state=S.REJECTED))
_EDITED = Count("pk", filter=Q(revision__gt=1))


def _counted(rows: QuerySet[Action, Any]) -> QuerySet[Action, Any]:
    return rows.annotate(
        approved=_APPROVED,
        rejected=_REJECTED,
        edited=_EDITED,
        first=Min("created_at"),
        last=Max("created_at"),
    ).order_by()
