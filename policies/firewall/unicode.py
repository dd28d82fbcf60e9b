"""Characters that a reader does not see: zero-width, bidirectional controls, tags, stray variation selectors.

What they are used for honestly stays: emoji sequences, joiners in scripts that need them, marks of direction
in right-to-left text, a byte order mark at the start. All else is stripped.
Bidirectional attacks: https://trojansource.codes ; tag characters: Unicode UTS #51, annex C.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from policies.firewall.findings import Finding, Hit, Text
from policies.text import INVISIBLE_CLASS

NAME = "unicode"

# Runs, so that text smuggled in a hundred selectors is one finding.
_RUNS = re.compile(
    "(?P<tags>[\U000e0000-\U000e007f]+)"
    "|(?P<bidi>[\u202a-\u202e\u2066-\u2069]+)"
    "|(?P<selectors>[\ufe00-\ufe0f\U000e0100-\U000e01ef]+)"
    "|(?P<joiner>[\u200c\u200d]+)"
    "|(?P<mark>[\u200e\u200f\u061c]+)"
    "|(?P<bom>\ufeff+)"
    f"|(?P<other>[{INVISIBLE_CLASS}]+)"
)
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_FLAG = "\U0001f3f4"
_TAG_END = "\U000e007f"
_WHY = {
    "tags": ("high", "tag characters, which spell text that no screen shows"),
    "bidi": ("high", "bidirectional controls, which show text in another order than it is read"),
    "selectors": ("high", "a run of variation selectors, which can carry hidden text"),
    "joiner": ("medium", "zero-width joiners where no script needs them"),
    "mark": ("low", "direction marks in text without a right-to-left letter"),
    "bom": ("low", "a byte order mark inside the text"),
    "other": ("low", "an invisible character"),
}


def detect(text: Text) -> list[Hit]:
    """Every run of invisible characters without an honest use; each is to be removed."""
    original = text.original
    if original.isascii():
        return []
    right_to_left = _RIGHT_TO_LEFT.search(original) is not None
    return [
        Hit(_finding(kind, start, end, original), "")
        for kind, start, end in _runs(original)
        if not _honest(kind, original, start, end, right_to_left)
    ]


def _runs(original: str) -> Iterator[tuple[str, int, int]]:
    for run in _RUNS.finditer(original):
        yield run.lastgroup or "other", run.start(), run.end()


def _finding(kind: str, start: int, end: int, original: str) -> Finding:
    severity, why = _WHY[kind]
    if kind in ("other", "joiner") and _inside_word(original, start, end):
        severity, why = "medium", "invisible characters inside a word"
    return Finding(NAME, severity, start, end, why)


def _inside_word(original: str, start: int, end: int) -> bool:
    before, after = original[start - 1 : start], original[end : end + 1]
    return before.isascii() and before.isalnum() and after.isascii() and after.isalnum()


def _honest(kind: str, original: str, start: int, end: int, right_to_left: bool) -> bool:
    before, after = original[start - 1 : start], original[end : end + 1]
    if kind == "tags":
        return before == _FLAG and end - start <= 8 and original[end - 1] == _TAG_END
    if kind == "selectors":
        return end - start == 1 and before != "" and (not before.isascii() or before in "#*0123456789")
    if kind == "joiner":
        return end - start == 1 and _foreign(before) and _foreign(after)
    if kind == "mark":
        return right_to_left
    return kind == "bom" and start == 0 and end == 1


def _foreign(sign: str) -> bool:
    return sign != "" and not sign.isascii() and not sign.isspace()
