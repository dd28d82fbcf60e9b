"""Structured output followed field by field. Pure.

A tool's output is kept as text, a line a leaf; `Field` says where each leaf stands in it. What an outsider
wrote into one leaf must not vouch for a part of it, so a value comes from trusted structured output only
where it is a whole leaf, or a whole key. And a record that the user named ("the event 'Team lunch'") leads to
the other leaves of that record: its id, who takes part.
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

_WORDS = re.compile(r"[a-z]+")
_AMOUNT = re.compile(r"[0-9]{1,12}\.[0-9]{1,2}")
# A shorter text stands in too much of what people write to name anything.
_NAMING = 4


@dataclass(frozen=True)
class Field:
    """One leaf: its path, where its value stands in the text, and where the last key of its path does."""

    path: tuple[str, ...]
    start: int
    end: int
    key_start: int = 0
    key_end: int = 0

    @property
    def key(self) -> str:
        """The last key of the path that is no index."""
        return next((step for step in reversed(self.path) if not step.isdigit()), "")

    @property
    def record(self) -> tuple[str, ...] | None:
        """The list item that this leaf belongs to; None for a leaf of no list, or that is an item itself."""
        indexes = [at for at, step in enumerate(self.path) if step.isdigit() and at + 1 < len(self.path)]
        whole = [at for at in indexes if not self.path[at + 1].isdigit()]
        return self.path[: whole[-1] + 1] if whole else None


@dataclass(frozen=True)
class Listed:
    """The records of one kind: the names of their fields at any depth, and each record's own by name."""

    names: set[str] = dataclasses.field(default_factory=set)
    records: dict[tuple[str, ...], dict[str, Field]] = dataclasses.field(default_factory=dict)


def fields(stored: Iterable[Sequence[Any]]) -> tuple[Field, ...]:
    """The fields as they are stored: [path, start, end, key_start, key_end]."""
    return tuple(Field(tuple(path), *places) for path, *places in stored)


def spans(text: str, found: Iterable[Field]) -> dict[tuple[int, int], Field]:
    """Where a whole leaf or key stands, without blanks at its ends."""
    return {
        _trimmed(text, start, end): field
        for field in found
        for start, end in ((field.key_start, field.key_end), (field.start, field.end))
        if start < end
    }


def same_kind(argument: str, field: Field, tool: str) -> bool:
    """Whether an argument is named like the field: what a short value takes to be its.

    `file_id` is like an `id` that `list_files` returned, and not like one of `list_events`.
    """
    wanted, key = set(words(argument)), set(words(field.key))
    of_what = wanted - key
    around = {word for step in (*field.path, tool) for word in words(step)}
    return bool(wanted & key) and (not of_what or bool(of_what & around))


def naming(text: str, found: Sequence[Field]) -> dict[str, tuple[str, ...]]:
    """The values that name exactly one record, and that record."""
    named: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for field in found:
        value = text[field.start : field.end].strip()
        if field.record is not None and _tells(value):
            named[value].add(field.record)
    return {value: next(iter(records)) for value, records in named.items() if len(records) == 1}


def lists(found: Iterable[Field]) -> dict[tuple[str, ...], Listed]:
    """The records in lists, those of the same kind together, by the `shape` of their place."""
    grouped: dict[tuple[str, ...], Listed] = defaultdict(Listed)
    for leaf in found:
        record = leaf.record
        if record is not None:
            listed, name = grouped[shape(record)], leaf.path[-1]
            listed.names.add(name)
            own = listed.records.setdefault(record, {})
            if len(leaf.path) == len(record) + 1:
                own[name] = leaf
    return dict(grouped)


def shape(record: tuple[str, ...]) -> tuple[str, ...]:
    """The place of a record whatever its number: what records of one kind have in common."""
    return tuple("*" if step.isdigit() else step for step in record)


def _tells(value: str) -> bool:
    return sum(sign.isalpha() for sign in value) >= _NAMING or _AMOUNT.fullmatch(value) is not None


def words(name: str) -> list[str]:
    """The words of a name (`fileId`, `file_ids`), in the singular as far as a final s tells it."""
    found: list[str] = _WORDS.findall(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
    return [word.removesuffix("s") or word for word in found]


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    value = text[start:end]
    return start + len(value) - len(value.lstrip()), end - (len(value) - len(value.rstrip()))
