"""What a grant of issuer `postgres` covers, worked out before anything is made. Pure.

The tool's definition says the most that may ever be granted: `tables`, `columns` of each, `operations`, and
`rows`, a condition that each row must meet. A call narrows it: `table` names one of the tables, and the
condition's `{name}` places take the call's arguments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from policies import sqltext
from policies.issuers.base import IssuerFailed

OPERATIONS = ("select", "insert", "update", "delete")
PREFIX = "agentsec_g_"
# Privileges that PostgreSQL grants by column; DELETE is of whole rows.
BY_COLUMN = frozenset({"select", "insert", "update"})


@dataclass(frozen=True)
class Granted:
    """One table as it is granted; no `columns` stands for all; `rows` limits which of its rows are there."""

    schema: str
    table: str
    columns: tuple[str, ...] = ()
    operations: tuple[str, ...] = ("select",)
    rows: str = ""

    @property
    def name(self) -> str:
        return f"{self.schema}.{self.table}"


@dataclass(frozen=True)
class Scope:
    """All that one grant covers. `bound` holds the values of the places in each `rows`."""

    source: str
    role: str
    tables: tuple[Granted, ...]
    bound: Mapping[str, Any]

    @property
    def views(self) -> str:
        """The schema for the views that show a part of the rows; "" where no table needs one."""
        return self.role if any(table.rows for table in self.tables) else ""

    @property
    def writes(self) -> bool:
        return any(set(table.operations) - {"select"} for table in self.tables)

    @property
    def told(self) -> str:
        return ", ".join(table.table for table in self.tables)

    def to_json(self) -> dict[str, Any]:
        tables = [asdict(table) for table in self.tables]
        for table in tables:
            table["columns"], table["operations"] = list(table["columns"]), list(table["operations"])
        return {"source": self.source, "role": self.role, "tables": tables, "bound": dict(self.bound)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Scope:
        """What `to_json` wrote, or of an older grant its one table."""
        tables = stored.get("tables") or [{"schema": stored["schema"], "table": stored["table"]}]
        return cls(
            source=str(stored["source"]), role=str(stored["role"]), bound=dict(stored.get("bound") or {}),
            tables=tuple(_table_from_json(table) for table in tables),
        )  # fmt: skip


def _table_from_json(stored: Mapping[str, Any]) -> Granted:
    return Granted(
        schema=str(stored["schema"]), table=str(stored["table"]), columns=tuple(stored.get("columns") or ()),
        operations=tuple(stored.get("operations") or ("select",)), rows=str(stored.get("rows") or ""),
    )  # fmt: skip


def scope(*, grant_id: UUID, config: Mapping[str, Any], args: Mapping[str, Any]) -> Scope:
    """The scope of one call's grant. Raises IssuerFailed where the tool may not grant what is asked."""
    tables = tuple(_granted(name, config) for name in _chosen(config, args))
    wanted = [name for table in tables for name in _places(table)]
    return Scope(
        source=str(config.get("source", "")), role=f"{PREFIX}{grant_id.hex}", tables=tables,
        bound={name: _value(name, args) for name in dict.fromkeys(wanted)},
    )  # fmt: skip


def qualified(table: str) -> tuple[str, str]:
    """Schema and name of a table as a tool names it; a name without a schema is one of `public`."""
    schema, dot, name = table.partition(".")
    return (schema, name) if dot else ("public", table)


def faults(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with a tool's fields about tables: the field, and why."""
    tables = {qualified(str(name)) for name in config.get("tables") or ()}
    for field in ("columns", "rows"):
        given = config.get(field)
        for name in given if isinstance(given, Mapping) else ():
            if qualified(name) not in tables:
                yield field, f"{name!r} is none of the tool's tables"
    rows = config.get("rows")
    for condition in rows.values() if isinstance(rows, Mapping) else filter(None, [rows]):
        if why := sqltext.problem(condition):
            yield "rows", why


def _chosen(config: Mapping[str, Any], args: Mapping[str, Any]) -> list[str]:
    """The tables of this call: the one it names, or all that its statement may touch."""
    allowed = [str(name) for name in config.get("tables") or ()]
    whole = len(allowed) == 1 or "statement" in config or "sql" in args
    asked = args.get("table") if "table" in args else None
    if asked is None and allowed and whole:
        return allowed
    chosen = [name for name in allowed if isinstance(asked, str) and qualified(name) == qualified(asked)]
    if not chosen:
        wish = str(asked or "")[:100] or "nothing"
        raise IssuerFailed(f"this tool may grant {', '.join(allowed) or 'no table'}, not {wish}")
    return chosen[:1]


def _granted(name: str, config: Mapping[str, Any]) -> Granted:
    schema, table = qualified(name)
    operations = tuple(dict.fromkeys(config.get("operations") or ("select",)))
    if unknown := sorted(set(operations) - set(OPERATIONS)):
        raise IssuerFailed(f"no operation is called {unknown[0]!r}; there are {', '.join(OPERATIONS)}")
    if why := next((f"{field}: {why}" for field, why in faults(config)), ""):
        raise IssuerFailed(f"the tool's definition is wrong in {why}")
    return Granted(
        schema, table, tuple(_of(config.get("columns"), schema, table) or ()), operations,
        str(_of(config.get("rows"), schema, table) or ""),
    )  # fmt: skip


def _of(given: Any, schema: str, table: str) -> Any:
    """What a field says of one table: its own entry, or the one value for all."""
    if not isinstance(given, Mapping):
        return given
    return next((value for name, value in given.items() if qualified(name) == (schema, table)), None)


def _places(table: Granted) -> tuple[str, ...]:
    return sqltext.places(table.rows) if table.rows else ()


def _value(name: str, args: Mapping[str, Any]) -> str | int | float | bool:
    value = args.get(name)
    if not isinstance(value, str | int | float | bool):
        raise IssuerFailed(f"which rows are granted depends on the argument `{name}`: a text, number or flag")
    return value
