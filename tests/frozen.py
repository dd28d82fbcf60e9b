"""Rows that many tests begin with: made once as the site makes them, then copied in.

The copies keep their ids. Sequences went past those when the rows were made, and never go back, so nothing
that a test adds can meet them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db import connection, transaction

T = TypeVar("T")
_COLUMNS = """
    SELECT column_name FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name = %s AND is_generated = 'NEVER' ORDER BY ordinal_position
"""


@dataclass(frozen=True)
class Frozen:
    """What was made, and the rows of each table that it filled."""

    made: Any
    rows: dict[str, bytes]


_kept: dict[Callable[[], Any], Frozen] = {}


def copied(make: Callable[[], T]) -> T:
    """What `make` makes in an empty database, with its rows. It runs once a process."""
    if make not in _kept:
        return _first(make)
    frozen = _kept[make]
    with transaction.atomic(), connection.cursor() as cursor:
        for target, rows in frozen.rows.items():
            with cursor.copy(f"COPY {target} FROM STDIN (FORMAT binary)") as stream:
                stream.write(rows)
    made: T = copy.deepcopy(frozen.made)
    return made


def _first(make: Callable[[], T]) -> T:
    before = _filled()
    made = make()
    rows = {}
    with connection.cursor() as cursor:
        for table in sorted(_filled() - before):
            cursor.execute(_COLUMNS, [table])
            columns = ", ".join(f'"{name}"' for (name,) in cursor.fetchall())
            with cursor.copy(f'COPY (SELECT {columns} FROM "{table}") TO STDOUT (FORMAT binary)') as stream:
                rows[f'"{table}" ({columns})'] = b"".join(bytes(part) for part in stream)
    _kept[make] = Frozen(copy.deepcopy(made), rows)
    return made


def _filled() -> frozenset[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        names = [name for (name,) in cursor.fetchall()]
        cursor.execute(
            " UNION ALL ".join(f"SELECT '{n}' WHERE EXISTS (SELECT 1 FROM \"{n}\")" for n in names)
        )
        return frozenset(name for (name,) in cursor.fetchall())
