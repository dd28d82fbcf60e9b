"""What a release in shadow has counted: from what to what, by tool, by rule, with examples."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from django.db.models import Count

from approvals.models import Action
from approvals.shadow_models import ShadowRelease
from policies.backtest import STRICTNESS

EXAMPLES = 5
# Counts are of all calls; rules and examples are read off the newest so many.
READ = 20_000


@dataclass
class Changed:
    """Calls that it would change alike; `rejected` are those that people said no to."""

    before: str
    after: str
    rejected: bool
    count: int = 0
    tools: Counter[str] = field(default_factory=Counter)
    then: Counter[str] = field(default_factory=Counter)
    now: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    @property
    def looser(self) -> bool:
        return STRICTNESS.get(self.after, 2) < STRICTNESS.get(self.before, 0)

    @property
    def by_tool(self) -> list[tuple[str, int]]:
        return self.tools.most_common(8)

    @property
    def by_rule_then(self) -> list[tuple[str, int]]:
        return self.then.most_common(8)

    @property
    def by_rule_now(self) -> list[tuple[str, int]]:
        return self.now.most_common(8)


@dataclass(frozen=True)
class Counted:
    """A release in shadow with what it would have changed so far; `behind` calls are not counted yet."""

    row: ShadowRelease
    rejected: list[Changed]
    others: list[Changed]
    behind: int

    @property
    def changed(self) -> int:
        return self.row.judged - self.row.same - self.row.failed

    @property
    def alarming(self) -> int:
        """Calls that people rejected and that it would let pass more easily."""
        return sum(change.count for change in self.rejected if change.looser)


def counted(row: ShadowRelease) -> Counted:
    """Everything there is to show of it. People may have decided since: rejections are as they are now."""
    groups: dict[tuple[str, str, bool], Changed] = {}
    _count(row, groups)
    _exemplify(row, groups)
    ordered = sorted(groups.values(), key=lambda change: (not change.looser, -change.count, change.before))
    return Counted(
        row,
        rejected=[change for change in ordered if change.rejected],
        others=[change for change in ordered if not change.rejected],
        behind=_behind(row),
    )


def _count(row: ShadowRelease, groups: dict[tuple[str, str, bool], Changed]) -> None:
    columns = ("before", "after", "action__state", "action__tool")
    for before, after, state, tool, count in row.verdicts.values_list(*columns).annotate(Count("pk")):
        key = (before, after, state == Action.State.REJECTED)
        group = groups.setdefault(key, Changed(*key))
        group.count += count
        group.tools[tool] += count


def _exemplify(row: ShadowRelease, groups: dict[tuple[str, str, bool], Changed]) -> None:
    columns = ("before", "after", "action__state", "action_id", "then", "now")
    for before, after, state, action, then, now in row.verdicts.order_by("-id").values_list(*columns)[:READ]:
        group = groups.get((before, after, state == Action.State.REJECTED))
        if group is None:  # decided between the two questions
            continue
        group.then.update(then)
        group.now.update(now)
        if len(group.examples) < EXAMPLES:
            group.examples.append(str(action))


def _behind(row: ShadowRelease) -> int:
    """Calls since it began that are not counted: of the last seconds, or while nothing counts."""
    calls = Action.objects.filter(created_at__gt=row.started_at)
    if row.ended_at is not None:
        calls = calls.filter(created_at__lte=row.ended_at)
    return max(0, calls.count() - row.judged)
