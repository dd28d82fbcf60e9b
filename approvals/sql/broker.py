"""Running one plain statement under the role of its grant, within its limits, and committing it last.

The order is the point: the session's limits, BEGIN (READ ONLY unless it writes), the server's own reading of
the statement, a last look, the statement, and for a write a second look that holds the action's row while
COMMIT is sent. Whatever goes wrong before is rolled back by the server, whoever died.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import psycopg

from approvals.sql import plan, values
from approvals.sql.plain import NotPlain, Plain
from approvals.sql.watching import Watch, watched

Connection = psycopg.Connection[Any]
MEMORY = 64 << 20  # what a worker may grow by over one statement, beside eight times its output's limit
SLACK_SECONDS = 2.0
# What is kept and inspected of one answer; a write must not succeed with an answer that nobody can keep.
MOST = {"output_bytes": 1 << 20, "rows": 100_000, "wall_seconds": 3_000, "lock_seconds": 3_000}


@dataclass(frozen=True)
class Bounds:
    """How much one statement may take and give. Seconds; rows and bytes of the answer; `changed_rows` that a
    write may touch, None for any number.
    """

    wall_seconds: float = 30.0
    lock_seconds: float = 5.0
    rows: int = 1_000
    output_bytes: int = 256 << 10
    changed_rows: int | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Bounds:
        """The tool's `limits`. Raises NotPlain for one that is unknown or no number above zero."""
        given = dict(config.get("limits") or {})
        for name, value in given.items():
            if name not in cls.__dataclass_fields__:
                known = ", ".join(cls.__dataclass_fields__)
                raise NotPlain(f"there is no limit called {name!r} for sql; there are {known}")
            least, most = 0 if name == "changed_rows" else 1, MOST.get(name, 1 << 30)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
                raise NotPlain(
                    f"the limit {name} is a number from {least} to {most}, not {str(value)[:50]!r}"
                )
        return cls(**given)


@dataclass(frozen=True)
class Answer:
    """What came back: `rows` as JSON values, cut where `truncated`; `row_count` came back or were changed."""

    columns: tuple[str, ...]
    rows: tuple[list[Any], ...]
    row_count: int
    truncated: bool
    command: str

    def to_json(self) -> dict[str, Any]:
        return {
            "command": self.command, "columns": list(self.columns), "rows": list(self.rows),
            "row_count": self.row_count, "truncated": self.truncated,
        }  # fmt: skip


class Ended(RuntimeError):
    """It did not come to its end; nothing was changed unless `unsure`. `how` is one word for the record."""

    def __init__(self, how: str, why: str, *, unsure: bool = False) -> None:
        super().__init__(why)
        self.how, self.unsure = how, unsure


@dataclass(frozen=True)
class Gates:
    """`still` raises if the start is over, and keeps it from ending for as long as it is entered; `stop` is
    set when the work must end.
    """

    still: Callable[[], AbstractContextManager[None]]
    stop: threading.Event


def run(connection: Connection, plain: Plain, bounds: Bounds, gates: Gates) -> Answer:
    """Run the statement. Raises Ended, NotPlain and whatever the gates raise."""
    memory = MEMORY + 8 * bounds.output_bytes
    with watched(
        connection, stop=gates.stop, seconds=bounds.wall_seconds + SLACK_SECONDS, memory=memory
    ) as watch:
        try:
            return _run(connection, plain, bounds, gates, watch)
        except (psycopg.Error, UnicodeError) as error:
            raise ended(error, watch) from None
        finally:
            _roll_back(connection)


def _run(connection: Connection, plain: Plain, bounds: Bounds, gates: Gates, watch: Watch) -> Answer:
    begin(connection, writes=plain.writes, seconds=bounds.wall_seconds, lock_seconds=bounds.lock_seconds)
    plan.checked(connection, plain)
    with gates.still():
        pass
    if not plain.writes:
        return _read(connection, plain, bounds)
    answer = _write(connection, plain, bounds)
    _commit(connection, gates, watch)
    return answer


def begin(connection: Connection, *, writes: bool, seconds: float, lock_seconds: float) -> None:
    """Open the transaction, with the session's limits. Raises psycopg.Error."""
    values.prepare(connection)
    for name, value in (
        ("statement_timeout", int(seconds * 1000)), ("lock_timeout", int(lock_seconds * 1000)),
        ("idle_in_transaction_session_timeout", int(seconds * 1000) + 10_000),
    ):  # fmt: skip
        connection.execute("SELECT set_config(%s, %s, false)", [name, str(value)])
    if connection.info.server_version >= 140000:
        # A worker that died leaves a statement that the server should not finish for nobody.
        connection.execute("SELECT set_config('client_connection_check_interval', '500', false)")
    connection.execute("BEGIN READ WRITE" if writes else "BEGIN READ ONLY")


def _read(connection: Connection, plain: Plain, bounds: Bounds) -> Answer:
    cursor, kept, total, cut = psycopg.RawCursor(connection), list[list[Any]](), 0, False
    # Row by row: more than is wanted is neither fetched nor held.
    rows = cursor.stream(plain.text.encode(), values.parameters(plain.parameters))
    for row in rows:
        total += values.size(list(row))
        if len(kept) >= bounds.rows or total > bounds.output_bytes:
            cut = True
            break
        kept.append(list(row))
    columns = tuple(column.name for column in cursor.description or ())
    rows.close()  # type: ignore[attr-defined]
    return Answer(columns, tuple(kept), len(kept), cut, plain.command.upper())


def _write(connection: Connection, plain: Plain, bounds: Bounds) -> Answer:
    cursor = psycopg.RawCursor(connection)
    # Prepared, for the extended query protocol: the simple one would take several statements.
    cursor.execute(plain.text.encode(), values.parameters(plain.parameters), prepare=True)
    changed = max(cursor.rowcount, 0)
    if bounds.changed_rows is not None and changed > bounds.changed_rows:
        why = (
            f"it would change {changed} rows, at most {bounds.changed_rows} are allowed: nothing was changed"
        )
        raise Ended("limit", why)
    kept, total, cut = list[list[Any]](), 0, False
    while cursor.description and (row := cursor.fetchone()) is not None:
        total += values.size(list(row))
        if len(kept) >= bounds.rows or total > bounds.output_bytes:
            cut = True
            break
        kept.append(list(row))
    columns = tuple(column.name for column in cursor.description or ())
    return Answer(columns, tuple(kept), changed, cut, plain.command.upper())


def _commit(connection: Connection, gates: Gates, watch: Watch) -> None:
    # What is deferred to the commit happens before the last look, so that the commit itself is short.
    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    with gates.still():
        if gates.stop.is_set() or watch.why:
            raise Ended(watch.why or "stopped", "it was stopped before it was committed: nothing was changed")
        try:
            said = connection.execute("COMMIT").statusmessage
        except psycopg.OperationalError as error:
            if connection.closed or connection.broken:
                why = "the connection was lost at the commit: whether anything was changed is not known"
                raise Ended("unknown", why, unsure=True) from None
            raise ended(error, watch) from None
    if said != "COMMIT":
        raise Ended("failed", "the database did not commit it: nothing was changed")


def _roll_back(connection: Connection) -> None:
    if not connection.closed and not connection.broken:
        try:
            connection.rollback()
        except psycopg.Error:
            connection.close()  # hanging up rolls back too


def ended(error: Exception, watch: Watch) -> Ended:
    """Why a statement did not come to its end, in the database's words where it said something; never with
    the address.
    """
    words = {
        "stopped": "it was stopped", "wall": "it ran too long",
        "memory": "its answer is larger than this worker may hold",
    }  # fmt: skip
    if watch.why:
        return Ended(watch.why, words[watch.why])
    if not isinstance(error, psycopg.Error):
        return Ended("failed", "its answer holds text that cannot be read")
    if isinstance(error, psycopg.errors.QueryCanceled):
        return Ended("wall", "it ran too long")
    if error.diag.message_primary:
        return Ended("failed", f"the database refused it: {_said(error)}")
    if isinstance(error, psycopg.OperationalError):
        return Ended("lost", "the connection to the database was lost, or the grant ended")
    return Ended("failed", f"the database driver refused it ({type(error).__name__})")


def _said(error: psycopg.Error) -> str:
    hint = f" · {error.diag.message_hint}" if error.diag.message_hint else ""
    return f"{error.diag.message_primary}{hint}"[:500]
