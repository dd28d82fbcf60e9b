"""What reviewers changed: each revision of the arguments against the one before. Pure over rows."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from approvals import payloads
from approvals.models import Revision


@dataclass(frozen=True)
class Line:
    """One line of a difference: `sign` is "+", "-" or " "."""

    sign: str
    text: str


@dataclass(frozen=True)
class Changed:
    """One argument that a revision changed."""

    name: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Change:
    """One revision against the one before it."""

    revision: Revision
    changed: tuple[Changed, ...]


def changes(revisions: Iterable[Revision]) -> tuple[Change, ...]:
    """Every revision after the first, the newest first, with what it changed."""
    pairs = pairwise(sorted(revisions, key=lambda revision: revision.number))
    found = [Change(after, differences(json.loads(before.args_json), json.loads(after.args_json)))
             for before, after in pairs]  # fmt: skip
    return tuple(reversed(found))


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Changed, ...]:
    """Argument by argument, line by line; nothing that stayed the same is shown but the lines around it."""
    names = [name for name in {**before, **after} if before.get(name, ...) != after.get(name, ...)]
    return tuple(Changed(name, tuple(_lines(before, after, name))) for name in names)


def _lines(before: Mapping[str, Any], after: Mapping[str, Any], name: str) -> Iterable[Line]:
    old, new = (_written(side[name]) if name in side else [] for side in (before, after))
    for text in list(difflib.unified_diff(old, new, n=2, lineterm=""))[2:]:
        if not text.startswith("@@"):
            yield Line(text[0], text[1:])


def _written(value: Any) -> list[str]:
    text = value if isinstance(value, str) else payloads.raw(value)
    # An empty text is one empty line: "it was there and empty" differs from "it was not there".
    return text.split("\n")
