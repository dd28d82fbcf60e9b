"""What PostgreSQL would do for a statement, in its own words: EXPLAIN, which never executes it.

`EXPLAIN (ANALYZE FALSE, …)` with its options in parentheses takes one plannable statement and nothing else,
so that a text which begins with ANALYZE is a syntax error. It is sent in the extended query protocol, which
takes one statement, in a transaction that is read-only or rolled back. Planning calls functions that are
declared immutable or stable with constant arguments, as the role of the grant; volatile ones are refused
before.

Source: PostgreSQL manual, "EXPLAIN", and the properties that src/backend/commands/explain.c writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import psycopg

from approvals.sql import calling, values
from approvals.sql.plain import NotPlain, Plain
from policies.values import MAX_SAFE_INTEGER

Connection = psycopg.Connection[Any]
# Not VERBOSE: that would write out every value that the planner has worked out already.
EXPLAIN = "EXPLAIN (ANALYZE FALSE, COSTS TRUE, FORMAT JSON) "
SYSTEM = "pg_"  # so every catalogue begins, those behind information_schema too
LONGEST_STEPS = 40


@dataclass(frozen=True)
class Scan:
    """How one table is read: its name, the kind of node, the rows that the planner expects of it."""

    table: str
    how: str
    rows: int

    @property
    def whole(self) -> bool:
        return self.how == "Seq Scan"


@dataclass(frozen=True)
class Plan:
    """A plan, told: `rows` come back, `changed` are inserted, updated or deleted, both as estimated."""

    operations: tuple[str, ...]
    rows: int
    changed: int | None
    cost: float
    scans: tuple[Scan, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Plan:
        """What `to_json` wrote. Raises KeyError or TypeError for anything else."""
        scans = tuple(Scan(**scan) for scan in stored["scans"])
        return cls(**(dict(stored) | {"scans": scans, "operations": tuple(stored["operations"])}))


def checked(connection: Connection, plain: Plain) -> Plan:
    """The plan, if the server reads the statement as it was understood and it has no effect on the side.

    Needs a transaction as the granted role. Raises NotPlain, and psycopg.Error for what the server refuses.
    """
    calling.check(connection, plain)
    plan = explain(connection, plain)
    if beyond := sorted(set(plan.operations) - plain.operations):
        raise NotPlain(f"the server would {beyond[0]}, which the statement did not seem to")
    return plan


def explain(connection: Connection, plain: Plain) -> Plan:
    """The plan of the statement as the server makes it now. Raises as `checked` does."""
    cursor = psycopg.RawCursor(connection)
    [(answer,)] = cursor.stream(EXPLAIN.encode() + plain.text.encode(), values.parameters(plain.parameters))
    whole = json.loads(answer) if isinstance(answer, str) else answer
    root = whole[0]["Plan"]
    nodes = list(_nodes(root))
    for node in nodes:
        name = str(node.get("Relation Name", ""))
        if name.startswith(SYSTEM):
            raise NotPlain(f"it reads {name}, a table of the server's own")
    writing = [node for node in nodes if node["Node Type"] == "ModifyTable"]
    operations = tuple(dict.fromkeys(str(node["Operation"]).lower() for node in writing)) or ("select",)
    return Plan(
        operations=operations, rows=_rows(root), changed=_changed(writing),
        cost=float(root["Total Cost"]), scans=tuple(map(_scan, filter(_reads, nodes)))[:LONGEST_STEPS],
    )  # fmt: skip


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    waiting = [node]
    while waiting:
        yield (one := waiting.pop())
        waiting.extend(reversed(one.get("Plans", ())))


def _rows(node: Mapping[str, Any]) -> int:
    return min(int(node["Plan Rows"]), MAX_SAFE_INTEGER)


def _changed(writing: list[Mapping[str, Any]]) -> int | None:
    """A node that writes tells what it returns; what it changes is what its child feeds it."""
    if not writing:
        return None
    return sum(_rows(child) for node in writing for child in node.get("Plans", ()))


def _reads(node: Mapping[str, Any]) -> bool:
    return "Relation Name" in node and node["Node Type"] != "ModifyTable"


def _scan(node: Mapping[str, Any]) -> Scan:
    return Scan(str(node["Relation Name"]), str(node["Node Type"]), _rows(node))
