"""Every argument of a call as a block, whole, whatever its kind. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from approvals.payloads import coloured
from approvals.payloads.parts import (
    Block,
    Call,
    Context,
    Drawing,
    Node,
    Value,
    escape,
    leaf,
    leaves,
    many,
    raw,
    size,
)
from policies.lookalikes import Trick
from policies.references import resolved

LONG = 200
DEEPEST, MOST_LEAVES = 12, 2_000
SPARSEST, SMALL = 4, 400  # of a table: cells for each value, and cells that are never too many
_TOLD = 20  # tricks told under a block; each is marked in its place anyway


def blocks(call: Call, drawing: Drawing) -> tuple[Block, ...]:
    """Every argument, in the order in which a person reads that kind of call."""
    return tuple(_finished(name, call, drawing) for name in _order(call.args, drawing.order))


def _order(args: Mapping[str, Any], first: tuple[str, ...]) -> list[str]:
    return sorted(args, key=lambda name: (first.index(name) if name in first else len(first), name))


def _finished(name: str, call: Call, drawing: Drawing) -> Block:
    schema = _property(call.context.schema, call.context.schema, name)
    block = _shaped(name, call.args[name], call.context, drawing, schema)
    fold = drawing.folds.get(name, "")
    return replace(
        block, authority=name in call.context.authority, fold=fold, tricks=tuple(_told(block)),
        figures=tuple(figure for figure in drawing.figures if figure.about == name),
        title=_words(schema, "title", name), note=_words(schema, "description", name),
        size=block.size or (size(block.value.text) if fold else ""),
    )  # fmt: skip


def _shaped(name: str, value: Any, context: Context, drawing: Drawing, schema: Mapping[str, Any]) -> Block:
    path = escape(name)
    if isinstance(value, str):
        return _text(name, leaf(value, path, context), drawing.programs.get(name, ""))
    if isinstance(value, list) and value and not any(isinstance(item, dict | list) for item in value):
        values = tuple(leaf(item, f"{path}/{place}", context) for place, item in enumerate(value))
        return Block(name, "values", values=values, size=many(len(values), "value"))
    if _is_table(value):
        return _table(name, value, path, context)
    if isinstance(value, dict) and set(value) == {"$file"}:
        return Block(name, "file", value=leaf(value["$file"], f"{path}/$file", context))
    if isinstance(value, dict | list) and value:
        return _nested(name, value, path, context, schema)
    return Block(name, "value", value=leaf(value, path, context))


def _text(name: str, value: Value, language: str) -> Block:
    if language:
        return Block(name, "program", value=value, code=coloured.code(value, language), size=size(value.text))
    form = "text" if "\n" in value.text or len(value.text) > LONG else "value"
    return Block(name, form, value=value, size=size(value.text))


def _is_table(value: Any) -> bool:
    flat = isinstance(value, list) and value and all(isinstance(row, dict) and row for row in value)
    if not flat or any(isinstance(cell, dict | list) for row in value for cell in row.values()):
        return False
    # Rows that share no names would make a table of their number squared, all of it empty.
    cells = len(value) * len({key for row in value for key in row})
    return cells <= SPARSEST * sum(map(len, value)) + SMALL


def _table(name: str, value: list[dict[str, Any]], path: str, context: Context) -> Block:
    columns = tuple(dict.fromkeys(key for row in value for key in row))
    rows = tuple(
        tuple(
            leaf(row[key], f"{path}/{place}/{escape(key)}", context) if key in row else Value("")
            for key in columns
        )
        for place, row in enumerate(value)
    )
    return Block(name, "table", columns=columns, rows=rows, size=many(len(rows), "row"))


def _nested(name: str, value: Any, path: str, context: Context, schema: Mapping[str, Any]) -> Block:
    """A tree with labels; indented JSON where it is too deep or too large for anyone to read as a tree."""
    found = sum(1 for _ in leaves(value, ""))
    counted = many(found, "value")
    if found > MOST_LEAVES or _depth(value) > DEEPEST:
        text = raw(value)
        return Block(name, "json", value=Value(text), code=coloured.code(Value(text), "json"), size=counted)
    tree = _node("", value, path, context, schema)
    return Block(name, "tree", tree=tree, size=counted)


def _node(label: str, value: Any, path: str, context: Context, schema: Mapping[str, Any]) -> Node:
    root = context.schema
    title, note = _words(schema, "title", label), _words(schema, "description", label)
    shown = f"{title} ({label})" if title and label else title or label
    if isinstance(value, dict) and value:
        inner = tuple(
            _node(key, item, f"{path}/{escape(key)}", context, _property(root, schema, key))
            for key, item in value.items()
        )
        return Node(shown, note, children=inner)
    if isinstance(value, list) and value:
        items = resolved(root, schema.get("items"))
        inner = tuple(_node("", item, f"{path}/{at}", context, items) for at, item in enumerate(value))
        return Node(shown, note, children=inner, listed=True)
    return Node(shown, note, value=leaf(value, path, context))


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level and depth <= DEEPEST:
        nested = [item for item in level if isinstance(item, dict | list)]
        level = [inner for item in nested for inner in (item.values() if isinstance(item, dict) else item)]
        depth += 1
    return depth


def _told(block: Block) -> Iterator[Trick]:
    """What tricks there are in a block, each said once."""
    said: set[str] = set()
    for trick in _tricks(block):
        if trick.said not in said and len(said) < _TOLD:
            said.add(trick.said)
            yield trick


def _tricks(block: Block) -> Iterator[Trick]:
    for value in (block.value, *block.values, *(cell for row in block.rows for cell in row)):
        yield from value.tricks
    waiting = [block.tree] if block.tree else []
    while waiting:
        node = waiting.pop()
        waiting += reversed(node.children)
        yield from node.value.tricks if node.value else ()


def _property(root: Mapping[str, Any], schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    properties = schema.get("properties")
    return resolved(root, properties.get(name) if isinstance(properties, Mapping) else None)


def _words(schema: Mapping[str, Any], key: str, name: str) -> str:
    said = schema.get(key)
    return said if isinstance(said, str) and said.casefold() != name.casefold() else ""
