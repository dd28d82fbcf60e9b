"""Texts of SQL that a tool's definition holds: where its `{name}` places are, and what is quoted. Pure.

Lexical structure as in the PostgreSQL manual, "SQL Syntax / Lexical Structure", under
standard_conforming_strings = on. What stands in quotes or comments is never a place for a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# The parser reads about 30 kB a second, and a deep statement recurses.
MOST_PARSED, DEEPEST = 6_000, 100
PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_PIECE = re.compile(
    r"(?P<escaped>[eE]'(?:[^'\\]|\\.|'')*')"
    r"|(?P<string>'(?:[^']|'')*')"
    r'|(?P<identifier>"(?:[^"]|"")*")'
    r"|(?P<dollar>(?<![A-Za-z0-9_$\x80-\U0010ffff])\$(?P<tag>(?:[A-Za-z_\x80-\U0010ffff]"
    r"[A-Za-z0-9_\x80-\U0010ffff]*)?)\$.*?\$(?P=tag)\$)"
    r"|(?P<comment>--[^\r\n]*|/\*)"
    r"|(?P<word>[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*)"
    r"|(?P<open>['\"])",
    re.DOTALL,
)
_NESTED = re.compile(r"/\*|\*/")


@dataclass(frozen=True)
class Piece:
    """A stretch of a text. `kind`: code, word, string, identifier or comment."""

    kind: str
    text: str


class Unreadable(ValueError):
    """A quote or a comment that does not end; the message says so."""


def pieces(text: str) -> Iterator[Piece]:
    """The text in stretches, which joined are the text. Raises Unreadable."""
    at = 0
    while found := _PIECE.search(text, at):
        if found.start() > at:
            yield Piece("code", text[at : found.start()])
        if found.lastgroup == "open":
            raise Unreadable(f"a {found.group()} is opened and never closed")
        kind, end = _kind(found), found.end()
        if found.group() == "/*":
            end = _comment_end(text, found.start())
        yield Piece(kind, text[found.start() : end])
        at = end
    if at < len(text):
        yield Piece("code", text[at:])


def _kind(found: re.Match[str]) -> str:
    for kind in ("word", "identifier", "comment"):
        if found.group(kind) is not None:
            return kind
    return "string"


def _comment_end(text: str, start: int) -> int:
    depth = 0
    for mark in _NESTED.finditer(text, start):
        depth += 1 if mark.group() == "/*" else -1
        if depth == 0:
            return mark.end()
    raise Unreadable("a /* is opened and never closed")


def places(text: str) -> tuple[str, ...]:
    """The names of the places outside of quotes and comments, each once. Raises Unreadable."""
    names: dict[str, None] = {}
    filled(text, lambda name: names.setdefault(name) or "")
    return tuple(names)


def quoted_places(text: str) -> frozenset[str]:
    """Names in braces where no value is put: inside of quotes and comments. Raises Unreadable."""
    held = (piece.text for piece in pieces(text) if piece.kind in ("string", "identifier", "comment"))
    return frozenset(name for part in held for name in PLACE.findall(part))


def filled(text: str, value: Callable[[str], str]) -> str:
    """The text with what `value` gives for each place. Raises Unreadable, and what `value` raises."""
    merged = "".join(
        piece.text if piece.kind in ("code", "word") else f"\0{number}\0"
        for number, piece in enumerate(_checked(text))
    )
    kept = list(_checked(text))
    replaced = PLACE.sub(lambda found: value(found.group(1)), merged)
    return re.sub("\0(\\d+)\0", lambda found: kept[int(found.group(1))].text, replaced)


def _checked(text: str) -> list[Piece]:
    if "\0" in text:
        raise Unreadable("it holds a NUL")
    return list(pieces(text))


def problem(condition: str) -> str:
    """Why a text cannot stand as one condition between parentheses; "" where it can."""
    depth = 0
    try:
        for piece in _checked(condition):
            if piece.kind == "comment":
                return "a condition holds no comment"
            if piece.kind == "code":
                for sign in piece.text:
                    depth += (sign == "(") - (sign == ")")
                    if depth < 0 or sign == ";":
                        return "it must be one condition, with balanced parentheses and no semicolon"
    except Unreadable as error:
        return str(error)
    if not condition.strip() or depth:
        return "it must be one condition, with balanced parentheses and no semicolon"
    if mistaken := quoted_places(condition):
        return f"{{{min(mistaken)}}} stands in quotes: write it without, the value is quoted by itself"
    return ""


def depth(text: str) -> int:
    """About how deep a parser recurses into this text, never too little by much."""
    depth = deepest = 0
    for character in text:
        depth += (character in "([") - (character in ")]")
        deepest = max(deepest, depth)
    return deepest + len(re.findall(r"\b(?:not|case|union|and|or)\b|[-+~]{2,}", text, re.IGNORECASE)) // 10
