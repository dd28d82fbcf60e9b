"""A call's arguments as people read them: mail as mail, programs as programs, everything else as a table.

Pure: canonical arguments in, frozen blocks out. Every value of the call stands in exactly one block, whole;
where a page folds something away it says how much.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MAIL_ORDER = ("from", "to", "cc", "bcc", "subject", "body", "attachments")
PROGRAM_NAMES = {
    "python": ("code", "source", "script"),
    "shell": ("command", "script", "source"),
    "sql": ("sql", "query"),
}
SHOWN_ITEMS = 12


@dataclass(frozen=True)
class Value:
    """One leaf: its text, where it came from, what the firewall found in it."""

    text: str
    origin: str = ""
    findings: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Block:
    """One argument. `form` is how it is drawn: value, text, program, values, table, file or json."""

    name: str
    form: str
    value: Value = Value("")
    values: tuple[Value, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    authority: bool = False
    size: str = ""

    @property
    def first(self) -> tuple[Value, ...]:
        return self.values[:SHOWN_ITEMS]

    @property
    def rest(self) -> tuple[Value, ...]:
        return self.values[SHOWN_ITEMS:]


@dataclass(frozen=True)
class Context:
    """What is known of the arguments beside their values; paths are JSON Pointers less the first slash."""

    runs: str
    authority: frozenset[str] = frozenset()
    origins: Mapping[str, str] = field(default_factory=dict)
    findings: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)


def kind(args: Mapping[str, Any], runs: str) -> str:
    """mail, program or table: which arrangement the payload gets."""
    if "to" in args and ({"subject", "body"} & args.keys()):
        return "mail"
    return "program" if runs in PROGRAM_NAMES else "table"


def blocks(args: Mapping[str, Any], context: Context) -> tuple[Block, ...]:
    """Every argument as a block, in the order in which a person reads that kind of call."""
    return tuple(_block(name, args[name], context) for name in _order(args, context.runs))


def raw(args: Mapping[str, Any]) -> str:
    """The whole of the arguments as indented JSON; non-ASCII stays itself so that it can be read."""
    return json.dumps(args, indent=2, ensure_ascii=False)


def index_findings(findings: Iterable[Mapping[str, Any]]) -> dict[str, tuple[Mapping[str, Any], ...]]:
    """Findings by the path of the text they were made in."""
    grouped: dict[str, tuple[Mapping[str, Any], ...]] = {}
    for finding in findings:
        path = str(finding.get("path", "")).lstrip("/")
        grouped[path] = (*grouped.get(path, ()), finding)
    return grouped


def escape(key: str) -> str:
    """One step of a JSON Pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every leaf below a path, in order."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from leaves(item, f"{path}/{escape(str(key))}")
    elif isinstance(value, list) and value:
        for place, item in enumerate(value):
            yield from leaves(item, f"{path}/{place}")
    else:
        yield path, value


def plain(value: Any) -> str:
    """A leaf as text; a text stays as it is, everything else is JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _order(args: Mapping[str, Any], runs: str) -> list[str]:
    first: Sequence[str] = MAIL_ORDER if kind(args, runs) == "mail" else PROGRAM_NAMES.get(runs, ())
    return sorted(args, key=lambda name: (first.index(name) if name in first else len(first), name))


def _block(name: str, value: Any, context: Context) -> Block:
    authority, path = name in context.authority, escape(name)
    if isinstance(value, str):
        return Block(name, _text_form(name, value, context.runs), value=_value(value, path, context),
                     authority=authority, size=_size(value))  # fmt: skip
    if isinstance(value, list) and value and not any(isinstance(item, dict | list) for item in value):
        values = tuple(_value(item, f"{path}/{place}", context) for place, item in enumerate(value))
        return Block(name, "values", values=values, authority=authority, size=_many(len(values), "value"))
    if _is_table(value):
        columns = tuple(dict.fromkeys(key for row in value for key in row))
        rows = tuple(tuple(plain(row[key]) if key in row else "" for key in columns) for row in value)
        return Block(
            name, "table", columns=columns, rows=rows, authority=authority, size=_many(len(rows), "row")
        )
    if isinstance(value, dict) and set(value) == {"$file"}:
        return Block(
            name, "file", value=_value(value["$file"], f"{path}/$file", context), authority=authority
        )
    if isinstance(value, dict | list):
        return Block(name, "json", value=_below(value, path, context), authority=authority)
    return Block(name, "value", value=_value(value, path, context), authority=authority)


def _text_form(name: str, text: str, runs: str) -> str:
    if name in PROGRAM_NAMES.get(runs, ()):
        return "program"
    return "text" if "\n" in text or len(text) > 200 else "value"


def _is_table(value: Any) -> bool:
    flat = isinstance(value, list) and value and all(isinstance(row, dict) and row for row in value)
    return bool(flat) and not any(isinstance(cell, dict | list) for row in value for cell in row.values())


def _value(value: Any, path: str, context: Context) -> Value:
    return Value(plain(value), context.origins.get(path, ""), context.findings.get(path, ()))


def _below(value: Any, path: str, context: Context) -> Value:
    """A nested value as JSON. Offsets of findings are those of single texts, so none is marked in here."""
    return Value(raw(value))


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("s" if count != 1 else "")


def _size(text: str) -> str:
    lines = text.count("\n") + 1
    return _many(len(text), "character") + (f", {lines:,} lines" if lines > 1 else "")
