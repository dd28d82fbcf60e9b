"""Foreign text for people's eyes: what cannot be seen is spelled out, what matters is marked.

Pure: strings in, strings and small frozen rows out. Nothing here escapes HTML; templates do, and the
filters in `traces.templatetags.agentsec` for the pieces that carry markup.
"""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

# Controls, format characters, fillers, private use, odd spaces, variation selectors, tags, surrogates: the
# general categories Cc, Cf, Co, Cs, Zl, Zp and Zs, and Default_Ignorable_Code_Point of Unicode's
# DerivedCoreProperties. Newline, tab and the plain space are what they look like.
_HIDDEN_RANGES = (
    "\x00-\x08\x0b-\x1f\x7f-\xa0\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u1680"
    "\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ud800-\udfff\ue000-\uf8ff"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff\U000f0000-\U0010ffff"
)
_HIDDEN = re.compile(f"[{_HIDDEN_RANGES}]")
_MARK = ("start", "end", "detector", "label", "severity")
_SEVERITIES = ("high", "medium", "low")
_WORD = re.compile(r'"([^"]*)"|(\S+)')
SNIPPET = 200
_JOINERS = {"\u200d", "\ufe0f"}


@dataclass(frozen=True)
class Mark:
    """A stretch of text, in code points from `start` up to `end`, and what is said of it."""

    start: int
    end: int
    label: str = ""
    severity: str = ""


@dataclass(frozen=True)
class Piece:
    """A run of text shown in one way: plain, an invisible character spelled out, or inside marks."""

    text: str
    hidden: bool = False
    marks: tuple[str, ...] = ()
    marked: bool = False
    severity: str = ""


def visible(text: str) -> str:
    """Text in which every invisible, control or bidirectional character reads ‹U+202E›, and so on."""
    return "".join(piece.text for piece in pieces(text))


def pieces(text: str, marks: Iterable[Mark] = ()) -> Iterator[Piece]:
    """Cut text where a mark begins or ends and where something is hidden; nothing is left out.

    Marks may overlap and may lie outside of the text; an empty one marks nothing.
    """
    for start, end, over in _stretches(_inside(text, marks), len(text)):
        labels = tuple(dict.fromkeys(mark.label for mark in over if mark.label))
        worst = min((mark.severity for mark in over), key=_rank, default="")
        for shown, hidden in _spelled(text, start, end):
            yield Piece(text=shown, hidden=hidden, marks=labels, marked=bool(over), severity=worst)


def hides(text: str) -> bool:
    """Whether anything in the text would be spelled out, or at least looked at for it."""
    return _HIDDEN.search(text) is not None


def replaced(text: str, shown: Callable[[str], str]) -> str:
    """Text with `shown` of each character in place of those that `pieces` would spell out."""
    return _HIDDEN.sub(lambda found: found[0] if _harmless(text, found.start()) else shown(found[0]), text)


def spell(character: str) -> str:
    """‹U+202E› for a character that cannot be seen."""
    return f"‹U+{ord(character):04X}›"


def name(spelled: str) -> str:
    """The Unicode name behind ‹U+202E›, or "unnamed character"."""
    return unicodedata.name(chr(int(spelled[3:-1], 16)), "unnamed character")


def mark_of(finding: Any) -> Mark:
    """A finding (a mapping or an object: start, end, and detector or label) → the mark to show for it."""
    values = finding if isinstance(finding, Mapping) else {key: getattr(finding, key, None) for key in _MARK}
    start, end, detector, label, severity = (values.get(key) for key in _MARK)
    return Mark(int(start or 0), int(end or 0), str(detector or label or ""), str(severity or ""))


def hits(text: str, q: str) -> list[Piece]:
    """Text with the words of a search marked."""
    return list(pieces(text, _hits(text, q)))


def snippet(text: str, q: str) -> list[Piece]:
    """About 200 characters around the first word that a search hits, else the beginning; cuts show as …"""
    found = _hits(text, q)
    first = max(0, found[0].start - SNIPPET // 3) if found else 0
    part = text[first : first + SNIPPET]
    before, after = "…" * bool(first), "…" * (first + SNIPPET < len(text))
    return [*pieces(before), *hits(" ".join(part.split()), q), *pieces(after)]


def _hits(text: str, q: str) -> list[Mark]:
    """Where the words and phrases of a web-style search stand; -words and `or` mark nothing."""
    wanted = [phrase or word for phrase, word in _WORD.findall(q) if phrase or _counts(word)]
    if not wanted:
        return []
    any_of = "|".join(r"\s+".join(map(re.escape, words.split())) for words in wanted if words.strip())
    whole_words = re.compile(rf"(?<!\w)(?:{any_of})(?!\w)", re.IGNORECASE)
    return [Mark(hit.start(), hit.end()) for hit in whole_words.finditer(text)]


def _counts(word: str) -> bool:
    return word.casefold() != "or" and not word.startswith("-") and word != '"'


def _rank(severity: str) -> int:
    return _SEVERITIES.index(severity) if severity in _SEVERITIES else len(_SEVERITIES)


def _inside(text: str, marks: Iterable[Mark]) -> list[Mark]:
    clipped = (replace(m, start=max(0, m.start), end=min(len(text), m.end)) for m in marks)
    return sorted((mark for mark in clipped if mark.start < mark.end), key=lambda mark: mark.start)


def _stretches(marks: list[Mark], length: int) -> Iterator[tuple[int, int, list[Mark]]]:
    """A sweep over sorted marks: stretches under the same marks. Thousands of marks stay cheap."""
    cuts = sorted({0, length, *(m.start for m in marks), *(m.end for m in marks)})
    waiting, over = deque(marks), list[Mark]()
    for start, end in pairwise(cuts):
        over = [mark for mark in over if mark.end > start]
        while waiting and waiting[0].start <= start:
            over.append(waiting.popleft())
        yield start, end, over


def _spelled(text: str, start: int, end: int) -> Iterator[tuple[str, bool]]:
    place = start
    for found in _HIDDEN.finditer(text, start, end):
        at = found.start()
        if _harmless(text, at):
            continue
        if at > place:
            yield text[place:at], False
        yield spell(text[at]), True
        place = at + 1
    if end > place:
        yield text[place:end], False


def _harmless(text: str, at: int) -> bool:
    """Inside an emoji a joiner or variation selector draws the emoji; a line's CR LF is a line's end."""
    if text[at] == "\r":
        return text[at + 1 : at + 2] == "\n"
    if text[at] not in _JOINERS or not _emoji(text[at - 1 : at]):
        return False
    return text[at] == "\ufe0f" or _emoji(text[at + 1 : at + 2])


def _emoji(character: str) -> bool:
    if not character:
        return False
    skin = "\U0001f3fb" <= character <= "\U0001f3ff"
    return skin or character == "\ufe0f" or unicodedata.category(character) == "So"
