"""A text as it reads with one way of writing undone, or two: the one list that every search goes by. Pure.

Line breaks and what a terminal or a reader does not show are taken out first; in what is left escapes are
undone one way at a time: URL, backslash (hexadecimal, octal, Unicode), HTML, quoted-printable, separators
between hexadecimal digits, dumps as `xxd`, `hexdump` and `od` print them, Base64 that holds text. Where
undoing one way brings signs of another, or of the same again, that is undone too; no deeper.

A view is one text; only where something is found in it is worked out where it came from. So a search of
an ordinary text costs a pass for each way that it shows signs of.

Sources: RFC 3986 section 2.1, RFC 2045 sections 6.7 and 6.8, RFC 4648, ECMA-48 section 5.4, RFC 8259.
"""

from __future__ import annotations

import base64
import html
import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote, unquote_to_bytes

from policies.text import INVISIBLE_CLASS, Folded

Undo = Callable[[str, str], str]
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_CONTROL = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])|\x9b[0-?]*[ -/]*[@-~]"
_HIDDEN = tuple(map(chr, (0xAD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF)))
# Between the digits of two bytes, as programs put it.
_BETWEEN = r"(?:[ :;,.\-|_]{1,2}(?:0x)?|\\x|0x|%)"
_STANDARD = str.maketrans("-_", "+/")
# Base64 of ASCII: the highest bit of each byte of three is no bit of any text.
_SIGN = r"[A-Za-z0-9+/_\-]"
_QUAD = rf"(?:[A-Za-f][A-HQ-Xg-nw-z0-3][ABEFIJMNQRUVYZcdghklopstwx014589]{_SIGN})"
# Each sign as h for a hexadecimal digit, s for what may stand between, x for itself.
_KINDS = bytes(
    ord(
        "h"
        if chr(c) in "0123456789abcdefABCDEF"
        else "s"
        if chr(c) in " :;,.-|_\\%"
        else "x"
        if c in b"xX"
        else "."
    )
    for c in range(256)
)
_SEPARATED = tuple(map(str.encode, (
    "hhs" * 6, "hhss" * 6, "hhhhshhhhshhhhshhhhs", "hhhhhhhhshhhhhhhhshhhhhhhh",
    "xhhsh" * 4, "xhhssh" * 4, "xhhh" * 4,
)))  # fmt: skip


@dataclass(frozen=True)
class Way:
    """One way of writing: `signs`, one of which a text must hold; `pattern`, what is rewritten, by `undo` (of
    its only group, or all of it) or to nothing; `shown`, whether a text is worth it; `quick`, the same by
    faster means; `lower` reads the text in lower case, `only` leaves out what is not rewritten.
    """

    signs: tuple[str, ...]
    pattern: re.Pattern[str]
    undo: Undo | None = None
    shown: Callable[[str], object] | None = None
    quick: Callable[[str], str] | None = None
    lower: bool = False
    only: bool = False

    def on(self, view: View) -> View | None:
        """The view with this undone; None where it shows no sign of it."""
        text = view.text
        if self.signs and not any(sign in text for sign in self.signs):
            return None
        if self.shown is not None and not self.shown(text):
            return None
        if self.lower:
            text = _lower(text)
        rewritten = self._rewritten(text, view.codec)
        return View(rewritten, view.codec, view, self) if rewritten not in ("", view.text) else None

    def _rewritten(self, text: str, codec: str) -> str:
        if self.quick is not None:
            return self.quick(text)
        rewrite = self.rewriting(codec)
        if self.only and not isinstance(rewrite, str):
            return "".join(map(rewrite, self.pattern.finditer(text)))
        return self.pattern.sub(rewrite, text)

    def grew(self, before: str, after: str) -> bool:
        """Whether undoing another way brought signs of this one."""
        return any(after.count(sign) > before.count(sign) for sign in self.signs)

    def rewriting(self, codec: str) -> Callable[[re.Match[str]], str] | str:
        """What stands in the place of a match."""
        if self.undo is None:
            return ""
        undo, group, seen = self.undo, self.pattern.groups, dict[str, str]()

        def rewrite(found: re.Match[str]) -> str:
            text = found[group]
            if (shown := seen.get(text)) is None:
                shown = seen[text] = undo(text, codec)
            return shown

        return rewrite


class View:
    """A text, and how it came from another; `codec` reads the bytes that escapes stand for."""

    def __init__(self, text: str, codec: str, source: View | None = None, way: Way | None = None) -> None:
        self.text, self.codec, self.source, self.way = text, codec, source, way
        self._folded: Folded | None = None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where text[start:end] (not empty) stands in the text that it all began with."""
        if self.source is None or self.way is None:
            return start, end
        if self._folded is None:
            self._folded = _folded(self.source, self.way)
        return self.source.span(*self._folded.span(start, end))


def views(text: str, codec: str = "utf-8") -> Iterator[View]:
    """Each view of a text beside the text itself."""
    whole = View(text, codec)
    joined = _joined(whole)
    if joined is not whole:
        yield joined
    for way in _WAYS:
        if (first := way.on(joined)) is not None:
            yield first
            if way.undo is not None:
                yield from _again(first, View("", codec) if way.only else joined, way)
    yield from _by_lines(whole)


def _again(first: View, before: View, way: Way) -> Iterator[View]:
    """What undoing one way has brought to light."""
    if any(sign in first.text and sign not in before.text for sign in "\r\n\x1b"):
        first = _joined(first)
        yield first
    for other in _WAYS:
        if (other is way and way.signs) or other.grew(before.text, first.text):
            second = other.on(first)
            if second is not None:
                yield second


def _by_lines(whole: View) -> Iterator[View]:
    """What goes by lines, which are still there: quoted-printable, and dumps."""
    if (quoted := _QUOTED.on(whole)) is not None:
        joined = _joined(quoted)
        yield joined
        yield from _again(joined, whole, _QUOTED)
    if (dumped := _DUMP.on(whole)) is not None:
        for each in (dumped, _DUMP_OF_WORDS.on(whole)):
            if each is not None:
                yield (joined := _joined(each))
                yield _DIGITS.on(joined) or joined


def _joined(view: View) -> View:
    """Without control sequences, without what nobody sees, in one line."""
    for way in (_CONTROLS, _BREAKS):
        view = way.on(view) or view
    return view


def _folded(source: View, way: Way) -> Folded:
    """The text of `source` with this way undone, and where each piece came from."""
    text, rewrite = _lower(source.text) if way.lower else source.text, way.rewriting(source.codec)
    parts, length, done = [], 0, 0
    at, begin, end = array("I"), array("I"), array("I")
    for found in (*way.pattern.finditer(text), None):
        start, stop = found.span() if found else (len(text), len(text))
        undone = rewrite if isinstance(rewrite, str) else rewrite(found) if found else ""
        # What stays is traced back sign by sign (an end of 0), what was undone as a whole.
        kept = "" if way.only else text[done:start]
        for shown, first, last in ((kept, done, 0), (undone, start, stop)):
            if shown:
                at.append(length)
                begin.append(first)
                end.append(last)
                parts.append(shown)
                length += len(shown)
        done = stop
    return Folded("".join(parts), at, begin, end)


_CAPITALS = {number: number + 32 for number in range(ord("A"), ord("Z") + 1)}


def _lower(text: str) -> str:
    """In lower case as far as it is ASCII, so that no sign becomes two."""
    return text.lower() if text.isascii() else text.translate(_CAPITALS)


def _in_one_line(text: str) -> str:
    """What the pattern of `_BREAKS` does."""
    lines = text.replace("\r", "\n").split("\n")
    inner = [line.strip(" \t") for line in lines[1:-1]]
    return "".join([lines[0].rstrip(" \t"), *inner, lines[-1].lstrip(" \t")])


def _is_separated(text: str) -> bool:
    kinds = text.encode("latin-1", "replace").translate(_KINDS)
    return any(each in kinds for each in _SEPARATED)


def _url(text: str, codec: str) -> str:
    return unquote(text, codec)


def _backslash(text: str, codec: str) -> str:
    sign = text[1]
    if sign == "x":
        return bytes.fromhex(text.replace("\\x", "")).decode(codec, "replace")
    if sign in "0123":
        return bytes(int(each, 8) for each in text.split("\\")[1:]).decode(codec, "replace")
    if sign in "uU":
        number = int(text[2:].strip("{}"), 16)
        return _in(codec, chr(number) if number < 0x110000 else "\ufffd")
    return _ESCAPES.get(sign, sign)


def _in(codec: str, shown: str) -> str:
    """Characters as they are written in a text that was read by this codec."""
    return shown if codec == "utf-8" else shown.encode("utf-8", "surrogatepass").decode(codec)


def _entity(text: str, codec: str) -> str:
    return _in(codec, html.unescape(text))


def _printable(text: str, codec: str) -> str:
    return "" if text[1].isspace() else unquote_to_bytes(text.replace("=", "%")).decode(codec, "replace")


def _digits(text: str, codec: str) -> str:
    return text + "\n"


def _words(text: str, codec: str) -> str:
    """The digits of a dump that shows two bytes as one number, the lower byte last."""
    return "".join(word[2:] + word[:2] for word in text.split()) + "\n"


def _of_base64(text: str, codec: str) -> str:
    text = text.rstrip("=").translate(_STANDARD)
    return base64.b64decode(text + "=" * (-len(text) % 4)).decode(codec, "replace") + "\0"


_NOTHING = re.compile(r"(?!)")
_CONTROLS = Way(("\x1b", "\x9b", *_HIDDEN), re.compile(f"{_CONTROL}|[{INVISIBLE_CLASS}]"))
_BREAKS = Way(("\n", "\r"), re.compile(r"(?<![ \t])[ \t]*[\r\n][ \t\r\n]*"), quick=_in_one_line)
_QUOTED = Way(
    ("=",), re.compile(r"=[ \t]*\r?\n|(?:=[0-9A-F]{2})+"), _printable,
    re.compile(r"=(?:3D|[ \t]*\r?\n|[0-9A-F]{2}=[0-9A-F]{2})").search,
)  # fmt: skip
_DUMP_LINE = r"(?m)^[0-9a-fA-F]{6,16}:? {1,3}((?:%s {1,2})*%s)(?:  .*| *\|.*)?[ \t]*\r?(?:\n|\Z)"
_DUMP = Way((), re.compile(_DUMP_LINE % (("(?:[0-9a-fA-F]{2}){1,8}",) * 2)), _digits)
_DUMP_OF_WORDS = Way((), re.compile(_DUMP_LINE % (("[0-9a-fA-F]{4}",) * 2)), _words)
_DIGITS = Way(
    (), re.compile(rf"(?<=[0-9a-f]){_BETWEEN}(?=[0-9a-f]{{2}})"), shown=_is_separated, lower=True,
)  # fmt: skip
_WAYS = (
    # Line breaks and colours that somebody wrote as text.
    Way(("\\n", "\\r", "\\x1b", "\\u001b", "\\033", "\\e["), re.compile(
        r"(?:\\r)?\\n|\\r|\\(?:x1[bB]|u001[bB]|033|e)\[[0-?]*[ -/]*[@-~]"
    )),
    Way(("%",), re.compile(r"(?:%[0-9A-Fa-f]{2})+"), _url),
    Way(("\\",), re.compile(
        r"(?:\\x[0-9a-fA-F]{2})+|(?:\\[0-3][0-7]{2})+"
        r"|\\(?:u[0-9a-fA-F]{4}|u\{[0-9a-fA-F]{1,6}\}|U[0-9a-fA-F]{8}|[\"'\\/nrtbf])"
    ), _backslash),
    Way(("&",), re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,8});"), _entity),
    Way((), _NOTHING, quick=str, lower=True),
    _DIGITS,
    Way((), re.compile(rf"{_QUAD}{{4,}}(?:{_SIGN}{{2,3}}={{0,2}}(?!{_SIGN}))?"), _of_base64, only=True),
)  # fmt: skip
