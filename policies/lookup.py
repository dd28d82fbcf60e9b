"""Values looked up in what was said in a session: each text prepared once, each value at token boundaries.

`provenance` says which value is looked up where and what a match is worth to a rule; this module finds it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from policies import records
from policies.calls import Call
from policies.matching import dated, occurrences
from policies.records import Field
from policies.text import INVISIBLE, Folded, fold, line_at

WORST_FIRST = ("untrusted", "agent", "reviewer", "trusted", "named", "user")

_MAX_LOOKUPS = 2000
# Characters that all look-ups of one call may read together: some seconds at the very worst.
_MAX_WORK = 1 << 30
# Fewer letters and digits than the first prove nothing in a text; fewer than the second, not which leaf.
_TELLING_SIGNS = 2
_PLAIN_SIGNS = 4


@dataclass(frozen=True)
class Source:
    """One text of the session. `origin` is user, trusted, agent or untrusted: what its writer may vouch for.

    `quoted` are spans (start, end; code points) of user text that the user only passed on, or of trusted
    output that outsiders can write. `fields` are the leaves of structured output, none for plain text.
    `call` is what returned it, None where that is not known.
    """

    entry_id: str
    origin: str
    text: str
    kind: str = ""
    who: str = ""
    quoted: tuple[tuple[int, int], ...] = ()
    fields: tuple[Field, ...] = ()
    call: Call | None = None


@dataclass(frozen=True)
class Origin:
    """Where a leaf came from: text[start:end] of the entry, and the line it stands in; empty if nowhere."""

    origin: str
    entry_id: str = ""
    start: int = 0
    end: int = 0
    line: str = ""
    who: str = ""

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


class Index:
    """The sources of a session, prepared for many look-ups. Build it once a proposal, or keep it longer."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self.sources = tuple(sources)
        self._texts = [_Text.of(source) for source in self.sources if source.origin != "agent"]
        self._users = [text for text in self._texts if text.source.origin == "user"]
        self._named: dict[tuple[int, tuple[str, ...]], bool] = {}
        length = sum(len(text.folded.text) for text in self._texts)
        self.lookups = max(1, min(_MAX_LOOKUPS, _MAX_WORK // max(1, length)))

    def find(self, value: str, argument: str = "") -> Origin:
        """The best origin of one text value, as it stands. `argument` is the name under which it is given."""
        needle = fold(value).text.strip()
        signs = sum(sign.isalnum() for sign in needle)
        if not signs:
            return Origin("agent")
        wanted = _Value(value, needle, signs, argument)
        best: Origin | None = None
        for text in self._texts if signs >= _TELLING_SIGNS else [one for one in self._texts if one.whole]:
            hit = self._look(text, wanted)
            if hit is not None and (best is None or rank(hit.origin) > rank(best.origin)):
                best = hit
                if best.origin == "user":
                    break
        return best or Origin("agent")

    def _look(self, text: _Text, value: _Value) -> Origin | None:
        """The best match of one value in one text."""
        best: Origin | None = None
        for first, last, own in _matches(text, value):
            origin = self._origin(text, first, last, value) if own else ""
            if not origin and (
                text.source.origin == "untrusted" or _touches(text.source.quoted, first, last)
            ):
                origin = "untrusted" if value.signs >= _TELLING_SIGNS else ""
            if origin and (best is None or rank(origin) > rank(best.origin)):
                best = _origin(origin, text.source, first, last)
                if origin in ("user", "named") or text.source.origin == "untrusted":
                    break
        return best

    def _origin(self, text: _Text, first: int, last: int, value: _Value) -> str:
        """What an own match is worth: "" where it is a part of a structured leaf, or too short for it."""
        if text.source.origin == "user" or not text.source.fields:
            return text.source.origin if value.signs >= _TELLING_SIGNS else ""
        field = text.whole.get((first, last))
        if field is None or (
            value.is_short and not records.same_kind(value.argument, field, text.source.who)
        ):
            return ""
        return "named" if self._names(text, field.record) else "trusted"

    def _names(self, text: _Text, record: tuple[str, ...] | None) -> bool:
        """Whether the user named this record by a field that outsiders cannot write."""
        if record is None:
            return False
        key = (id(text), record)
        if key not in self._named:
            self._named[key] = any(self._said(name) for name, named in text.naming.items() if named == record)
        return self._named[key]

    def _said(self, name: str) -> bool:
        """Whether the user wrote it himself."""
        amount = re.fullmatch(r"[0-9.]+", name)
        spelled = [fold(one).text.strip() for one in (spellings(float(name)) if amount else [name])]
        wanted = [_Value(name, needle, len(needle), "") for needle in spelled]
        return any(own for text in self._users for one in wanted for _, _, own in _matches(text, one))


def rank(origin: str) -> int:
    return WORST_FIRST.index(origin)


def spellings(number: int | float) -> list[str]:
    """How people write a number: 1500 is also 1,500, and 12.5 also 12.50."""
    if isinstance(number, int):
        return [str(number)] + ([f"{number:,}"] if abs(number) >= 1000 else [])
    return [repr(number), f"{number:.2f}", f"{number:,.2f}"] if round(number, 2) == number else [repr(number)]


@dataclass(frozen=True)
class _Value:
    written: str
    needle: str
    signs: int
    argument: str

    @property
    def is_short(self) -> bool:
        """Whether it says too little by itself to be looked for in any leaf: a few digits, a single sign."""
        return self.signs < _TELLING_SIGNS or (self.signs < _PLAIN_SIGNS and not self.needle.isalpha())

    def vouched(self, said: str) -> bool:
        """Whether `said` is this very value: forms that look alike (full-width) must stand as they are."""
        if INVISIBLE.search(self.written):
            return False
        return unicodedata.is_normalized("NFKC", self.written) or said == self.written


@dataclass(frozen=True)
class _Text:
    """A source prepared for look-ups. `whole` says where whole leaves and keys of trusted output stand."""

    source: Source
    folded: Folded
    whole: dict[tuple[int, int], Field]

    @classmethod
    def of(cls, source: Source) -> _Text:
        trusted = source.fields if source.origin == "trusted" else ()
        return cls(source, fold(source.text), records.spans(source.text, trusted))

    @cached_property
    def naming(self) -> dict[str, tuple[str, ...]]:
        quoted = self.source.quoted
        own = [field for field in self.source.fields if not _touches(quoted, field.start, field.end)]
        return records.naming(self.source.text, own)


def _matches(text: _Text, value: _Value) -> Iterator[tuple[int, int, bool]]:
    """Where the value stands in the source's own text, and whether it stands there as itself and vouched."""
    for start, end, whole in occurrences(text.folded.text, value.needle):
        first, last = text.folded.span(start, end)
        yield (
            first,
            last,
            (
                whole
                and not _touches(text.source.quoted, first, last)
                and value.vouched(text.source.text[first:last])
                and not (
                    len(value.needle) < 3 and value.needle.isdigit() and dated(text.folded.text, start, end)
                )
            ),
        )


def _touches(spans: Iterable[tuple[int, int]], start: int, end: int) -> bool:
    return any(min(span) < end and start < max(span) for span in spans)


def _origin(origin: str, source: Source, start: int, end: int) -> Origin:
    line = line_at(source.text, start, end)
    return Origin(origin, source.entry_id, start, end, line, source.who)
