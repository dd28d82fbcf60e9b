"""A statement as its card shows it, beside its text: the right it runs under, and its plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from approvals import reasons
from approvals.models import Action
from approvals.sql import planning
from approvals.sql.plan import Plan
from approvals.sql_models import StatementPlan


@dataclass(frozen=True)
class Line:
    """One table of the plan, with its estimate as people write numbers."""

    table: str
    how: str
    whole: bool
    rows: str


@dataclass(frozen=True)
class Shown:
    """`waits` while a plan may still come; `why` where none will."""

    statement: str
    operations: tuple[str, ...]
    tables: tuple[str, ...]
    rows: tuple[tuple[str, str], ...]
    plan: Plan | None
    why: str
    waits: bool

    @property
    def writes(self) -> bool:
        return self.operations != ("select",)

    @property
    def returned(self) -> str:
        return f"{self.plan.rows:,}" if self.plan else ""

    @property
    def changed(self) -> str:
        return f"{self.plan.changed or 0:,}" if self.plan else ""

    @property
    def scans(self) -> tuple[Line, ...]:
        found = self.plan.scans if self.plan else ()
        return tuple(Line(scan.table, scan.how, scan.whole, f"{scan.rows:,}") for scan in found)


def shown(action: Action) -> Shown | None:
    """What the card of this action says of its statement; None where it runs none. Changes nothing."""
    if action.runs != planning.RUNS:
        return None
    config, row = reasons.tool_of(action).config, planning.of(action)
    tables = tuple(map(str, config.get("tables") or ()))
    made = Plan.from_json(row.plan) if row and row.state == StatementPlan.State.MADE else None
    coming = row is None or row.state == StatementPlan.State.MAKING
    return Shown(
        statement=str(config.get("statement") or ""), tables=tables, rows=_rows(config.get("rows"), tables),
        operations=tuple(config.get("operations") or ("select",)), plan=made, why=row.why if row else "",
        waits=coming and action.state == Action.State.PENDING,
    )  # fmt: skip


def _rows(given: Any, tables: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    if isinstance(given, Mapping):
        return tuple((str(name), str(rows)) for name, rows in given.items())
    return tuple((name, str(given)) for name in tables) if given else ()
