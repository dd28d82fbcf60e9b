"""Two short texts as one, word by word: what stayed, what went, what came. Pure."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

# Comparing takes time in the product of both sides; beyond this a whole text is replaced by the other.
MAX_PRODUCT = 1_000_000
_WORD = re.compile(r"\w")
_TOKEN = re.compile(r"\s+|\w+|&&|\|\||[!=<>]=|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|.", re.DOTALL)


@dataclass(frozen=True)
class Piece:
    """Part of a text: `sign` is "=" (in both), "-" (before only) or "+" (after only)."""

    sign: str
    text: str


def written(value: Any) -> str:
    """A JSON value as a reader wants it: texts as they are, lists of texts by commas, objects indented."""
    if value is None or value == [] or value == "":
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True)


def compared(before: str, after: str) -> tuple[Piece, ...]:
    """Both texts in one; leaving out one sign gives either of them back exactly."""
    old, new = _TOKEN.findall(before), _TOKEN.findall(after)
    head, tail = _alike(old, new), 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    inner = _inner(old[head : len(old) - tail], new[head : len(new) - tail])
    whole = [Piece("=", "".join(old[:head])), *inner, Piece("=", "".join(old[len(old) - tail :]))]
    return tuple(piece for piece in whole if piece.text)


def _alike(old: Sequence[str], new: Sequence[str]) -> int:
    return next(
        (at for at, (one, other) in enumerate(zip(old, new, strict=False)) if one != other),
        min(len(old), len(new)),
    )


def _inner(old: Sequence[str], new: Sequence[str]) -> Iterator[Piece]:
    blocks = _common(old, new) if len(old) * len(new) <= MAX_PRODUCT else []
    for (at, to, size), (next_at, next_to, _) in pairwise([(0, 0, 0), *blocks, (len(old), len(new), 0)]):
        yield Piece("=", "".join(old[at : at + size]))
        yield Piece("-", "".join(old[at + size : next_at]))
        yield Piece("+", "".join(new[to + size : next_to]))


def _common(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int, int]]:
    """Where both say the same; not where only signs or blanks are alike, nor where hardly anything is.

    A reader of two texts that share a dot and a bracket wants to see the one and then the other.
    """
    matcher = difflib.SequenceMatcher(lambda word: not word.strip(), old, new, autojunk=False)
    found = [
        (at, to, size)
        for at, to, size in matcher.get_matching_blocks()
        if _WORD.search("".join(old[at : at + size]))
    ]
    alike = sum(len(word) for at, _, size in found for word in old[at : at + size])
    whole = min(sum(map(len, old)), sum(map(len, new)))
    return found if alike * 3 >= whole else []
