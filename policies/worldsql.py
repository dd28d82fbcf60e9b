"""The fields of a tool that reaches a database: what each takes, and whether they fit together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from policies import sqltext
from policies.issuers import postgres_scope
from policies.worldfields import Reader, Wrong, read_choices, read_list, read_text
from policies.yamlfile import Node

_COLUMN = re.compile(r"[^\x00]{1,63}")

_read_column = partial(read_text, longest=63, form=_COLUMN, what="a column's name")
_read_condition = partial(read_text, longest=1_000)


def _read_of_tables(node: Node, *, of: Reader) -> dict[str, Any]:
    found = {}
    for name, item in node.value.items():
        try:
            found[name] = of(item)
        except Wrong as wrong:
            raise Wrong(wrong.why, item, f".{name}{wrong.below}") from None
    return found


def read_columns(node: Node) -> Any:
    """The columns of each table: a list for all tables, or a mapping of table and list."""
    read = partial(read_list, of=_read_column)
    return _read_of_tables(node, of=read) if isinstance(node.value, dict) else read(node)


def read_rows(node: Node) -> Any:
    """Which rows: one condition for all tables, or a mapping of table and condition."""
    if isinstance(node.value, dict):
        return _read_of_tables(node, of=_read_condition)
    return _read_condition(node)


FIELDS: dict[str, Reader] = {
    "statement": partial(read_text, longest=sqltext.MOST_PARSED),
    "operations": partial(read_list, of=read_choices(list(postgres_scope.OPERATIONS))),
    "columns": read_columns,
    "rows": read_rows,
}


def faults(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with these fields together: the field, and why."""
    yield from postgres_scope.faults(values)
    known = set(values.get("parameters", {}).get("properties", {}))
    rows = values.get("rows") or ()
    conditions = rows.values() if isinstance(rows, Mapping) else [rows] if rows else []
    texts = [("rows", text) for text in conditions]
    texts += [("statement", values["statement"])] if values.get("statement") else []
    for field, text in texts:
        for why in _misplaced(text, known):
            yield field, why


def _misplaced(text: str, known: set[str]) -> Iterator[str]:
    try:
        placed, quoted = sqltext.places(text), sqltext.quoted_places(text)
    except sqltext.Unreadable as error:
        yield str(error)
        return
    yield from (f"{name!r} is no parameter of the tool" for name in placed if name not in known)
    mistaken = sorted(quoted & known)
    yield from (f"{{{name}}} stands in quotes, where no value is put: write it without" for name in mistaken)
