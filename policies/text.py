"""Text as it reads, with the way back to the text as it was written.

Matching must not be fooled by what a reader cannot see (zero-width characters, full-width letters, case,
line breaks), and must still quote the original. All offsets are Unicode code points of the original text,
not bytes and not UTF-16 units.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_right
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
_MARK = re.compile(f"[{_MARKS}]")
_PIECES = re.compile(
    rf"(?P<space>\s+)|(?P<plain>[\x00-\x08\x0e-\x1b\x21-\x7f]+(?![{_MARKS}]))|(?P<cluster>.[{_MARKS}]*)",
    re.DOTALL,
)
# Letters of other scripts that look like Latin ones. Only the common ones: enough that a word cannot be
# dressed up, few enough that it stays a table one can read.
_FOREIGN, _LATIN = "аеорсухіјѕԁһӏԛԝѵαοινρυτκıɡℓ", "aeopcyxijsdhlqwvaoivputkigl"
_FOREIGN_CAPITALS, _LATIN_CAPITALS = "АВЕКМНОРСТУХІЈЅΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABEKMHOPCTYXIJSABEZHIKMNOPTYX"
_LOOKALIKES = str.maketrans(_FOREIGN + _FOREIGN_CAPITALS, _LATIN + _LATIN_CAPITALS)
# What `fold` only makes lower case, one character for one: no compatibility form, not invisible, no mark, no
# Σ (whose lower case depends on what follows). Most of what people write, not all that could stand here.
_EVEN = (
    "\u00a1-\u00a7\u00a9\u00ab\u00ac\u00ae\u00b0\u00b1\u00b6\u00b7\u00bb\u00bf-\u012f\u0131\u0134-\u013e\u0141-\u0148"
    "\u014a-\u017e\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a4-\u03cf\u0400-\u0482\u048a-\u052f\u05d0-\u05ea\u0620-\u064a"
    "\u2010\u2012-\u2016\u2018-\u2023\u2030-\u2032\u2039\u203a\u20a0-\u20a7\u20a9-\u20bf\u2190-\u21ff\u2500-\u27bf"
    "\u3001-\u3029\u3041-\u3096\u30a1-\u30fe\u3400-\u4dbf\u4e00-\u9fef\uac00-\ud7a3\U0001f300-\U0001f64f"
)
# Runs in which something is not even, with the blanks around it, or more than one blank.
_UNEVEN = re.compile(f" *[^ -~{_EVEN}][^!-~{_EVEN}]*|  +")
_BLANKS = str.maketrans(dict.fromkeys("\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f", " "))
_TAGGED = re.compile("[\U000e0020-\U000e007e]")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Folded:
    """A text in comparable form, and where each of its pieces came from; no pieces: each sign from itself.

    Piece i begins at `at[i]` of the text and came from begin[i]:end[i] of the original, as a whole; where
    end[i] is 0, sign by sign.
    """

    text: str
    at: array[int] | None = None
    begin: array[int] | None = None
    end: array[int] | None = None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where text[start:end] (not empty) stands in the original."""
        if self.at is None or self.begin is None or self.end is None:
            return start, end
        first, last = bisect_right(self.at, start) - 1, bisect_right(self.at, end - 1) - 1
        return (
            self.begin[first] if self.end[first] else self.begin[first] + start - self.at[first],
            self.end[last] or self.begin[last] + end - self.at[last],
        )


class _Writer:
    """Writes a text in comparable form, piece by piece."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.at, self.begin, self.end = array("I"), array("I"), array("I")
        self.length = 0
        # Of the piece being written sign by sign: how far its signs stand from where they were.
        self.shift: int | None = None

    def write(self, shown: str, begin: int, stop: int) -> None:
        """Take `shown` for what stands in begin:stop of the original."""
        even = len(shown) == stop - begin
        if shown and not (even and self.shift == begin - self.length):
            self.at.append(self.length)
            self.begin.append(begin)
            self.end.append(0 if even else stop)
            self.shift = begin - self.length if even else None
        self.parts.append(shown)
        self.length += len(shown)

    def folded(self) -> Folded:
        text = "".join(self.parts)
        if len(self.at) < 2 and not any(self.begin) and not any(self.end):
            return Folded(text)
        return Folded(text, self.at, self.begin, self.end)


def fold(text: str) -> Folded:
    """As values are compared: see `reading`, in lower case, and each run of white space is one blank.

    Lower case rather than case folding: folding would equate `ß` and `ss`, which are two domains.
    """
    if text.isascii():
        even = text.translate(_BLANKS).lower()
        return Folded(even) if "  " not in even else _folded(even)
    # Sign for sign, so that most line breaks need no look of their own.
    even = text.replace("\n", " ").replace("\t", " ").replace("\r", " ")
    return _folded(even)


def _folded(text: str) -> Folded:
    writer, done = _Writer(), 0
    for run in _UNEVEN.finditer(text):
        begin, stop = run.span()
        # A mark belongs to the sign before it.
        if begin > done and _MARK.match(text, begin) and not text[begin - 1].isspace():
            begin -= 1
        if begin > done:
            writer.write(text[done:begin].lower(), done, begin)
        _write_pieces(writer, text, begin, stop, _folded_piece)
        done = stop
    if done < len(text):
        writer.write(text[done:].lower(), done, len(text))
    return writer.folded()


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
    writer = _Writer()
    _write_pieces(writer, text, 0, len(text), piece_of)
    return writer.folded()


def _write_pieces(
    writer: _Writer, text: str, begin: int, stop: int, piece_of: Callable[[str | None, str], str]
) -> None:
    for piece in _PIECES.finditer(text, begin, stop):
        writer.write(piece_of(piece.lastgroup, piece.group()), *piece.span())


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
