"""Text as it reads, with the way back to the text as it was written.

Matching must not be fooled by what a reader cannot see (zero-width characters, full-width letters, case,
line breaks), and must still quote the original. All offsets are Unicode code points of the original text,
not bytes and not UTF-16 units.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections.abc import Callable
from dataclasses import dataclass

# Default-ignorable and format characters: they change nothing that a reader sees.
# https://www.unicode.org/reports/tr44/#Default_Ignorable_Code_Point
INVISIBLE_CLASS = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
INVISIBLE = re.compile(f"[{INVISIBLE_CLASS}]")

_MARKS = "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
_PIECES = re.compile(
    rf"(?P<space>\s+)|(?P<plain>[\x00-\x08\x0e-\x1b\x21-\x7f]+(?![{_MARKS}]))|(?P<cluster>.[{_MARKS}]*)",
    re.DOTALL,
)
# Letters of other scripts that look like Latin ones. Only the common ones: enough that a word cannot be
# dressed up, few enough that it stays a table one can read.
_FOREIGN, _LATIN = "аеорсухіјѕԁһӏԛԝѵαοινρυτκıɡℓ", "aeopcyxijsdhlqwvaoivputkigl"
_FOREIGN_CAPITALS, _LATIN_CAPITALS = "АВЕКМНОРСТУХІЈЅΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABEKMHOPCTYXIJSABEZHIKMNOPTYX"
_LOOKALIKES = str.maketrans(_FOREIGN + _FOREIGN_CAPITALS, _LATIN + _LATIN_CAPITALS)
_TAGGED = re.compile("[\U000e0020-\U000e007e]")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Folded:
    """A text in comparable form. `starts[i]`, `ends[i]` bound what character i came from; None: itself."""

    text: str
    starts: array[int] | None = None
    ends: array[int] | None = None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where text[start:end] (not empty) stands in the original."""
        if self.starts is None or self.ends is None:
            return start, end
        return self.starts[start], self.ends[end - 1]


def fold(text: str) -> Folded:
    """As values are compared: see `reading`, in lower case, and each run of white space is one blank.

    Lower case rather than case folding: folding would equate `ß` and `ss`, which are two domains.
    """
    if text.isascii() and not re.search(r"\s\s|[^\S ]", text):
        return Folded(text.lower())
    return _rewritten(text, _folded_piece)


def reading(text: str, *, lookalikes: bool = False, tags: bool = False) -> Folded:
    """As it reads: compatibility-normalised (NFKC), without invisible characters, case and space kept.

    `lookalikes` reads Cyrillic and Greek look-alikes as Latin; `tags` reads tag characters, which no screen
    shows, as the ASCII they stand for. A lone surrogate reads as U+FFFD.
    """
    if text.isascii():
        return Folded(text)

    inside_tags = False

    def piece(kind: str | None, written: str) -> str:
        nonlocal inside_tags
        before, inside_tags = inside_tags, tags and _TAGGED.match(written) is not None
        if kind != "cluster":
            return written
        if inside_tags:
            # What is hidden begins on a line of its own, or the word before it would hide it once more.
            return ("" if before else "\n") + _TAGGED.sub(_untagged, written)
        shown = _compatible(_SURROGATE.sub("\ufffd", written))
        return shown.translate(_LOOKALIKES) if lookalikes else shown

    return _rewritten(text, piece)


def _untagged(found: re.Match[str]) -> str:
    return chr(ord(found[0]) - 0xE0000)


def _folded_piece(kind: str | None, written: str) -> str:
    if kind == "space":
        return " "
    return (written if kind == "plain" else _compatible(written)).lower()


def _rewritten(text: str, piece_of: Callable[[str | None, str], str]) -> Folded:
    parts: list[str] = []
    starts, ends = array("I"), array("I")
    for piece in _PIECES.finditer(text):
        begin, stop = piece.span()
        shown = piece_of(piece.lastgroup, piece.group())
        parts.append(shown)
        if len(shown) == stop - begin:
            starts.extend(range(begin, stop))
            ends.extend(range(begin + 1, stop + 1))
        else:
            starts.extend([begin] * len(shown))
            ends.extend([stop] * len(shown))
    return Folded("".join(parts), starts, ends)


def line_at(text: str, start: int, end: int, *, limit: int = 300) -> str:
    """The line that holds text[start:end], cut to about `limit` characters around it, … showing where."""
    begin = text.rfind("\n", 0, start) + 1
    stop = text.find("\n", end)
    stop = len(text) if stop < 0 else stop
    room = max(0, limit - (end - start)) // 2
    left, right = max(begin, start - room), min(stop, max(end, min(end, start + limit)) + room)
    if right - left > 2 * limit:
        right = left + 2 * limit
    return ("…" if left > begin else "") + text[left:right].strip("\r\n") + ("…" if right < stop else "")


def _compatible(cluster: str) -> str:
    return unicodedata.normalize("NFKC", INVISIBLE.sub("", cluster))
