"""A payload made readable: a tree of labelled values that a template walks. Pure; says what it leaves out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from traces.presenters import Mark, mark_of

MAX_TEXT = 200_000
MAX_NODES = 3_000
MAX_DEPTH = 40
INLINE = 160
FOLD = 8


@dataclass(frozen=True)
class Node:
    """One value. `shape`: line (short), block (long or several lines), map, list, words (a list of short
    values) or empty.

    `cut` is how many characters or values are not here; the raw view has them. `size` counts what is.
    """

    label: str
    shape: str
    text: str = ""
    marks: tuple[Mark, ...] = ()
    children: tuple[Node, ...] = ()
    cut: int = 0
    size: int = 1

    @property
    def folds(self) -> bool:
        """So many values below it that a reader opens it by choice."""
        return self.size > FOLD


@dataclass
class _Budget:
    left: int = MAX_NODES


def tree(body: Any) -> Node:
    """A JSON value → its tree. Says what is missing beyond 3,000 values or 200,000 characters of a text."""
    return _node("", body, _Budget(), 0, _marks(body))


def _marks(body: Any) -> dict[str, tuple[Mark, ...]]:
    """Findings stand beside the text that they are about: offsets of `findings` point into `text`, unless
    that was masked before it was kept, which its digest shows.
    """
    if not isinstance(body, Mapping) or not isinstance(body.get("findings"), Sequence) or _masked(body):
        return {}
    found = [item for item in body["findings"] if isinstance(item, Mapping) and "path" not in item]
    return {"text": tuple(mark_of(item) for item in found if _placed(item))}


def _masked(body: Mapping[str, Any]) -> bool:
    kept = str(body.get("text", "")).encode("utf-8", "surrogatepass")
    return "sha256" in body and hashlib.sha256(kept).hexdigest() != body["sha256"]


def _placed(finding: Mapping[str, Any]) -> bool:
    return all(isinstance(finding.get(key), int) for key in ("start", "end"))


def _node(label: str, value: Any, budget: _Budget, depth: int, marks: Mapping[str, Any]) -> Node:
    budget.left -= 1
    if isinstance(value, str):
        return _text(label, value, marks.get(label, ()))
    if isinstance(value, Mapping | list | tuple) and value:
        if depth >= MAX_DEPTH:
            return _text(label, json.dumps(value), ())
        return _branch(label, value, budget, depth, marks if depth == 0 else {})
    if isinstance(value, Mapping | list | tuple) or value is None:
        return Node(label, "empty")
    return Node(label, "line", json.dumps(value))


def _text(label: str, value: str, marks: tuple[Mark, ...]) -> Node:
    if not value:
        return Node(label, "empty")
    shape = "line" if len(value) <= INLINE and "\n" not in value else "block"
    return Node(label, shape, value[:MAX_TEXT], marks, cut=max(0, len(value) - MAX_TEXT))


def _branch(label: str, value: Any, budget: _Budget, depth: int, marks: Mapping[str, Any]) -> Node:
    children: list[Node] = []
    for key, item in _items(value):
        if budget.left <= 0:
            break
        children.append(_node(key, item, budget, depth + 1, marks))
    cut, size = len(value) - len(children), sum(child.size for child in children)
    return Node(label, _shape(value, children), children=tuple(children), cut=cut, size=size)


def _shape(value: Any, children: list[Node]) -> str:
    if isinstance(value, Mapping):
        return "map"
    return "words" if all(child.shape == "line" for child in children) else "list"


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((str(key), item) for key, item in value.items())
    else:
        yield from ((str(number), item) for number, item in enumerate(value, start=1))
