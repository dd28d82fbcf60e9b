"""Conditions read as text, as far as that can be done surely: their tokens, their parts, the calls in them.

What this does not know it leaves alone. CEL itself decides what a condition means; this only finds pieces of
it to show or to ask apart. Tokens as in https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<blank>\s+|//[^\n]*)
    |(?P<text>[rRbB]{0,2}(?:\"\"\"(?:[^\\]|\\.)*?\"\"\"|'''(?:[^\\]|\\.)*?'''|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
    |(?P<name>[A-Za-z_]\w*)
    |(?P<operator>&&|\|\|)
    |(?P<sign>[^"'`])""",
    re.VERBOSE | re.DOTALL,
)
_RAW = re.compile("[bB]?[rR]")
_OPEN, _CLOSE = frozenset("([{"), frozenset(")]}")
_OPERATORS = ("||", "&&")


@dataclass(frozen=True)
class Tokens:
    """The tokens of a condition; `words` are the places of those that are neither blank nor comment."""

    all: tuple[str, ...]
    words: tuple[int, ...]

    @property
    def read(self) -> list[str]:
        return [self.all[place] for place in self.words]

    def text(self, first: int, last: int) -> str:
        """The words from `first` up to but without `last`, as they are written."""
        if first >= last:
            return ""
        return "".join(self.all[self.words[first] : self.words[last - 1] + 1])


def tokens(condition: str) -> Tokens | None:
    """None where the condition holds what this does not know."""
    found: list[str] = []
    at = 0
    while at < len(condition):
        token = _TOKEN.match(condition, at)
        if token is None or _unclear(token):
            return None
        found.append(token[0])
        at = token.end()
    words = [place for place, token in enumerate(found) if token.strip() and not token.startswith("//")]
    return Tokens(tuple(found), tuple(words))


def _unclear(token: re.Match[str]) -> bool:
    """Whether it is a raw text with a backslash: there it is a sign like others, unknown to _TOKEN."""
    return token.lastgroup == "text" and "\\" in token[0] and _RAW.match(token[0]) is not None


def end(read: list[str], start: int) -> int | None:
    """The place of the bracket that closes the one at `start`."""
    depth = 0
    for place in range(start, len(read)):
        if read[place] in _OPEN:
            depth += 1
        elif read[place] in _CLOSE:
            depth -= 1
            if depth == 0:
                return place
    return None


def whole(read: list[str], place: int) -> bool:
    """Whether the name there stands for itself and is no part of a.b or .b."""
    return place == 0 or read[place - 1] != "."


def parts(condition: str) -> list[str]:
    """What a condition joins with && and ||, each piece as it is written; all of it where it joins nothing.

    `a && (b || c)` has the parts a, b and c. Pieces of ?: and of !(…) are not told apart.
    """
    found = tokens(condition)
    return list(_parts(found, 0, len(found.words))) if found else [condition.strip()]


def _parts(found: Tokens, first: int, last: int) -> Iterator[str]:
    read = found.read
    while last - first > 2 and read[first] == "(" and end(read, first) == last - 1:
        first, last = first + 1, last - 1
    top = list(_top(read, first, last))
    joined = next((sign for sign in _OPERATORS if any(read[place] == sign for place in top)), None)
    if joined is None or any(read[place] == "?" for place in top):
        yield found.text(first, last)
        return
    begin = first
    for place in (*(place for place in top if read[place] == joined), last):
        yield from _parts(found, begin, place)
        begin = place + 1


def _top(read: list[str], first: int, last: int) -> Iterator[int]:
    """The places that stand in no bracket."""
    depth = 0
    for place in range(first, last):
        if read[place] in _OPEN:
            depth += 1
        elif read[place] in _CLOSE:
            depth -= 1
        elif depth == 0:
            yield place


def calls(condition: str, names: Iterable[str]) -> list[str]:
    """Each call of one of these functions, as it is written, once: `recipients(args)`."""
    found, wanted = tokens(condition), frozenset(names)
    if found is None:
        return []
    read = found.read
    told: dict[str, None] = {}
    for place, word in enumerate(read):
        if word in wanted and read[place + 1 : place + 2] == ["("] and whole(read, place):
            last = end(read, place + 1)
            if last is not None:
                told[found.text(place, last + 1)] = None
    return list(told)
