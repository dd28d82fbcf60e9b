"""Values of stored secrets, found wherever they stand and however they are usually written.

What a value is, is known from the store, so nothing is guessed. A text is read as it is, and as it would be
with usual ways of writing undone (`undone`). Only whole values count: an answer to half a value would let
somebody find the other half sign by sign.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import ahocorasick_rs

from policies.firewall import undone
from policies.firewall.findings import Finding, Hit, Text
from policies.firewall.forms import Form, forms, forms_of_bytes

NAME = "stored-secret"
Span = tuple[int, int, str]
# In a text of more characters escapes are not undone one by one, which would take seconds; forms still count.
LONG = 4 * 1024 * 1024
_SURROGATE = re.compile("[\ud800-\udfff]")
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_")


@dataclass(frozen=True)
class _Searched:
    """An automaton over all forms; of each its name and whether it is Base64."""

    automaton: Any = field(repr=False)
    names: tuple[str, ...]
    base64: tuple[bool, ...]


class Known:
    """The values to look for, by the names of their secrets. Keeps no value but inside of the automaton.

    `of_bytes` looks for them in bytes that were read as Latin-1, a sign a byte, and takes any
    value: for what is guarded on its way, not recognised in texts of others.
    """

    def __init__(self, values: Iterable[tuple[str, str]], *, of_bytes: bool = False) -> None:
        found: dict[Form, str] = {}
        for name, value in values:
            for form in forms_of_bytes(value) if of_bytes else forms(value):
                found.setdefault(form, name)
        self._codec = "latin-1" if of_bytes else "utf-8"
        # Two secrets may hold one value, and one text may be a form in two ways: one name stands for it.
        by_text = {form.text: (name, form.base64) for form, name in found.items() if form.text}
        self._searched: _Searched | None = None
        # How many characters the longest form has.
        self.longest = max(map(len, by_text), default=0)
        if by_text:
            texts = [_SURROGATE.sub("\ufffd", text) for text in by_text]
            names, base64 = zip(*by_text.values(), strict=True)
            automaton = ahocorasick_rs.AhoCorasick(texts, store_patterns=False)
            self._searched = _Searched(automaton, names, base64)

    def __bool__(self) -> bool:
        return self._searched is not None

    def __repr__(self) -> str:
        return f"<Known: {len(self._searched.names) if self._searched else 0} forms>"

    def spans(self, text: str) -> list[Span]:
        """Where values stand: start, end and the secret's name, by place; overlapping ones joined."""
        if self._searched is None or not text:
            return []
        found = set(self._plain(text))
        for view in undone.views(text, self._codec) if len(text) <= LONG else ():
            found |= {(*view.span(start, end), name) for start, end, name in self._plain(view.text)}
        return _joined(sorted(found))

    def masked(self, text: str) -> str:
        """The text with each value replaced by `[secret NAME]`."""
        return _replaced(text, self.spans(text))

    def masked_bytes(self, content: bytes, *, quickly: bool = False) -> bytes:
        """The same for content of any kind, read as UTF-8 as far as it is. `quickly` undoes no escapes: for
        what the site itself has written, in forms that are known.
        """
        if self._searched is None:
            return content
        text = content.decode("utf-8", "surrogateescape")
        spans = _joined(sorted(self._plain(text))) if quickly else self.spans(text)
        return _replaced(text, spans).encode("utf-8", "surrogateescape") if spans else content

    def masked_json(self, value: Any) -> Any:
        """The same for every text of a JSON value, keys included, and for what several hold together."""
        if self._searched is None or not self.spans("".join([*_keys_of(value), *_texts_of(value)])):
            return value
        return self._clean(value, (), self._scattered(value))

    def found(self, value: Any) -> list[tuple[tuple[str | int, ...], Span]]:
        """Each place of a JSON value where one stands, by the path of its text; () for what several texts, or
        a key, hold.
        """
        if self._searched is None or not self.spans("".join([*_keys_of(value), *_texts_of(value)])):
            return []
        each = [(path, span) for path, text in leaves_of(value, ()) for span in self.spans(text)]
        apart = set(self._scattered(value).values())
        apart |= {name for key in _keys_of(value) for _, _, name in self.spans(key)}
        return each + [((), (0, 0, name)) for name in sorted(apart)]

    def names(self, text: str) -> list[str]:
        """Of which secrets the text holds the value."""
        return sorted({name for _, _, name in self.spans(text)})

    def _plain(self, text: str) -> Iterator[Span]:
        assert self._searched is not None
        if not text.isascii():
            text = _SURROGATE.sub("\ufffd", text)
        for form, start, end in self._searched.automaton.find_matches_as_indexes(text, overlapping=True):
            if self._searched.base64[form]:
                start -= start > 0 and text[start - 1] in _BASE64
                end += end < len(text) and text[end] in _BASE64
            yield start, end, self._searched.names[form]

    def _scattered(self, value: Any) -> dict[tuple[str | int, ...], str]:
        """The leaves that hold a value together with those beside them, each with the secret's name."""
        leaves = list(leaves_of(value, ()))
        if len(leaves) < 2:
            return {}
        hit, at, touched = self.spans("".join(text for _, text in leaves)), 0, {}
        for path, text in leaves if hit else ():
            for start, end, name in hit:
                inside = at <= start and end <= at + len(text)
                if start < at + len(text) and at < end and not inside:
                    touched[path] = name
            at += len(text)
        return touched

    def _clean(self, value: Any, path: tuple[str | int, ...], scattered: Mapping[Any, str]) -> Any:
        if _is_text(value):
            text = str(value)
            masked = written(scattered[path]) if path in scattered else self.masked(text)
            return value if masked == text else masked
        if isinstance(value, Mapping):
            return {
                self.masked(key) if isinstance(key, str) else key: self._clean(item, (*path, key), scattered)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._clean(item, (*path, index), scattered) for index, item in enumerate(value)]
        return value


NOTHING = Known(())
_source: list[Callable[[], Known]] = [lambda: NOTHING]
_latest: list[Known] = [NOTHING]
_held: ContextVar[Known | None] = ContextVar("held", default=None)


def read_from(source: Callable[[], Known]) -> None:
    """Where values are read from; the site says so once, when it starts. `source` raises where it cannot."""
    _source[0] = source


def remember(known: Known) -> None:
    """What this process last knew, for where nothing may be asked."""
    _latest[0] = known


def latest() -> Known:
    """What this process last knew: for lines of its own logs, which must not wait for the database."""
    return _latest[0]


def current() -> Known:
    """What is known now. Raises whatever keeps the values from being read: then no text may go on."""
    held = _held.get()
    return _source[0]() if held is None else held


@contextmanager
def holding(known: Known) -> Iterator[Known]:
    """Within it, this is what is known: for many texts that are read as one."""
    token = _held.set(known)
    try:
        yield known
    finally:
        _held.reset(token)


def detect(text: Text) -> list[Hit]:
    """Every value of a stored secret, each to be replaced by the secret's name."""
    known = current()
    if not known:
        return []
    found = set(known.spans(text.original))
    for reading in text.readings:
        if reading.text != text.original:
            found |= {(*reading.span(start, end), name) for start, end, name in known.spans(reading.text)}
    return [_hit(*span) for span in _joined(sorted(found))]


def written(name: str) -> str:
    """What stands in the place of a value."""
    return f"[secret {name}]"


def leaves_of(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Each text and number of a JSON value with its path, in the order in which it is written."""
    if _is_text(value):
        yield path, str(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves_of(item, (*path, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from leaves_of(item, (*path, index))


def _is_text(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _texts_of(value: Any) -> Iterator[str]:
    return (text for _, text in leaves_of(value, ()))


def _keys_of(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _keys_of(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _keys_of(item)


def finding(start: int, end: int, name: str) -> Finding:
    """That the value of this secret stands there."""
    return Finding(NAME, "high", start, end, f"the value of the secret {name}")


def _hit(start: int, end: int, name: str) -> Hit:
    return Hit(finding(start, end, name), written(name))


def _joined(spans: Iterable[Span]) -> list[Span]:
    joined: list[Span] = []
    for start, end, name in spans:
        if joined and start < joined[-1][1]:
            first, last, earlier = joined[-1]
            joined[-1] = (first, max(last, end), earlier)
        else:
            joined.append((start, end, name))
    return joined


def _replaced(text: str, spans: Iterable[Span]) -> str:
    pieces, at = [], 0
    for start, end, name in spans:
        pieces += [text[at:start], written(name)]
        at = end
    return "".join(pieces) + text[at:] if pieces else text
