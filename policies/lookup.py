"""Values looked up in what was said in a session: each text prepared once, each value at token boundaries.

`provenance` says which value is looked up where and what a match is worth to a rule; this module finds it.
"""

from __future__ import annotations

import re
import sys
import threading
import unicodedata
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

from policies import records
from policies.calls import Call
from policies.matching import dated, occurrences
from policies.normalforms import Form, forms
from policies.records import Field
from policies.text import INVISIBLE, Folded, Spans, fold, line_at
from policies.wordindex import BLOCK, Windows, WordIndex, windows

WORST_FIRST = ("untrusted", "agent", "reviewer", "trusted", "named", "user")

_OURS = ("user", "named", "trusted")
_HOST = re.compile(r"\A(?:https?://)?[a-z0-9.-]+\.[a-z]+(?::[0-9]+)?(?=/)", re.IGNORECASE)
_MAX_LOOKUPS = 2000
# Characters that all look-ups of one call may read together: some seconds at the very worst.
_MAX_WORK = 1 << 30
# Fewer letters and digits than the first prove nothing in a text; fewer than the second, not which leaf.
_TELLING_SIGNS = 2
_PLAIN_SIGNS = 4
# What CPython needs for a prepared text beside its signs, and for one field with its place in it; tested.
_TEXT_OCTETS, _FIELD_OCTETS = 1500, 1000


@dataclass(frozen=True)
class Source:
    """One text of the session. `origin` is user, trusted, agent or untrusted: what its writer may vouch for.

    `quoted` are spans (start, end; code points) of user text that the user only passed on, or of trusted
    output that outsiders can write. `fields` are the leaves of structured output, none for plain text.
    `call` is what returned it, None where that is not known.
    `said` is the day on which it was said (UTC), None where that is not known.
    """

    entry_id: str
    origin: str
    text: str
    kind: str = ""
    who: str = ""
    quoted: tuple[tuple[int, int], ...] = ()
    fields: tuple[Field, ...] = ()
    call: Call | None = None
    said: date | None = None


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
    """The sources of a session, prepared for many look-ups. Build it once and extend it as more is said.

    An index itself never changes, so any thread may use it; those made from one another share what is
    prepared.
    """

    def __init__(self, sources: Iterable[Source]) -> None:
        self._take(_Shelf(), sources)

    def _take(self, shelf: _Shelf, more: Iterable[Source]) -> None:
        for source in more:
            shelf.add(source)
        self._shelf, self._size, self._texts = shelf, len(shelf.sources), len(shelf.texts)
        self._named: dict[tuple[int, tuple[str, ...]], bool] = {}
        self.octets = shelf.octets
        self.lookups = max(1, min(_MAX_LOOKUPS, _MAX_WORK // max(1, shelf.length)))

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(self._shelf.sources[: self._size])

    def text(self, entry_id: str) -> Text | None:
        """What stands in an entry; None where nothing does that could explain a value."""
        text = self._shelf.by_entry.get(entry_id)
        return text if text is not None and text.number < self._texts else None

    def extended(self, more: Iterable[Source]) -> Index:
        """This index with more sources behind its own. One that was extended before is prepared anew."""
        longer = Index.__new__(Index)
        with self._shelf.growing:
            if len(self._shelf.sources) == self._size:
                longer._take(self._shelf, more)
                return longer
        longer._take(_Shelf(), (*self.sources, *more))
        return longer

    def find(self, value: str, argument: str = "") -> Origin:
        """The best origin of one text value, in any of its forms. `argument` is the name under which it is
        given.
        """
        needle = fold(value).text.strip()
        signs = sum(sign.isalnum() for sign in needle)
        if not signs:
            return Origin("agent")
        wanted = _Value(value, needle, signs, argument)
        found = self._formed(wanted)
        theirs = self._in_their_case(wanted, found) if "/" in needle or "\\" in needle else None
        return theirs or found

    def _in_their_case(self, wanted: _Value, found: Origin) -> Origin | None:
        """Where only outsiders wrote a path in exactly this case: it may lead elsewhere than the one said."""
        text = self.text(found.entry_id)
        if text is None or found.origin not in _OURS:
            return None
        value = wanted.written.strip()
        if _cased(text.source.text[found.start : found.end]) == _cased(value):
            return None
        shelf, theirs = self._shelf, None
        for words in (shelf.own, shelf.outside):
            for other, within in self._candidates(words, wanted):
                for first, last, own in _matches(other, wanted, within):
                    if other.source.text[first:last] == value:
                        if own and words is shelf.own:
                            return None
                        theirs = theirs or _origin("untrusted", other.source, first, last)
        return theirs

    def _formed(self, wanted: _Value) -> Origin:
        value, needle, argument = wanted.written, wanted.needle, wanted.argument
        found = self._found(wanted)
        # What holds look-alikes, invisible signs or runs of blanks has no other form.
        if found.origin == "user" or value.strip().lower() != needle:
            return found
        others = [_Value.of(form, argument) for form in forms(needle) if form.text != needle]
        for formed in others:
            other = self._best(formed)
            if other is not None and rank(other.origin) > max(rank(found.origin), rank("agent")):
                found = other
        if found.origin != "agent":
            return found
        outside = (self._outside(formed, before=None) for formed in others)
        return next((other for other in outside if other is not None), found)

    def _found(self, wanted: _Value) -> Origin:
        own = self._best(wanted)
        if own is not None and own.origin != "untrusted":
            return own
        return self._outside(wanted, before=own) or Origin("agent")

    def _best(self, wanted: _Value) -> Origin | None:
        """The best match in the texts that may vouch for something."""
        best: Origin | None = None
        for text, within in self._candidates(self._shelf.own, wanted):
            hit = self._look(text, wanted, within)
            if hit is not None and (best is None or rank(hit.origin) > rank(best.origin)):
                best = hit
                if best.origin == "user":
                    break
        return best

    def _outside(self, wanted: _Value, *, before: Origin | None) -> Origin | None:
        """The first match that nobody vouches for; failing that `before`, the one in a quoted passage."""
        for text, within in self._candidates(self._shelf.outside, wanted):
            hit = self._look(text, wanted, within)
            if hit is not None:
                return hit
        return before

    def _candidates(self, words: WordIndex, wanted: _Value) -> Iterator[tuple[Text, Windows]]:
        """The texts that may hold the value. One sign alone is looked for in structured output only."""
        for number, leads in words.places(wanted.needle):
            if number >= self._texts:
                return
            text = self._shelf.texts[number]
            is_short = len(text.folded.text) <= BLOCK
            if is_short and wanted.needle not in text.folded.text:
                continue
            if wanted.signs >= _TELLING_SIGNS or text.whole:
                yield text, windows(leads, len(wanted.needle))

    def _look(self, text: Text, value: _Value, within: Windows) -> Origin | None:
        """The best match of one value in one text."""
        best: Origin | None = None
        for first, last, own in _matches(text, value, within):
            origin = self._origin(text, first, last, value) if own else ""
            if not origin and (text.source.origin == "untrusted" or text.quoted.touches(first, last)):
                origin = "untrusted" if value.signs >= _TELLING_SIGNS else ""
            if origin and (best is None or rank(origin) > rank(best.origin)):
                best = _origin(origin, text.source, first, last)
                if origin in ("user", "named") or text.source.origin == "untrusted":
                    break
        return best

    def _origin(self, text: Text, first: int, last: int, value: _Value) -> str:
        """What an own match is worth: "" where it is a part of a structured leaf, or too short for it."""
        if text.source.origin == "user" or not text.source.fields:
            return text.source.origin if value.signs >= _TELLING_SIGNS else ""
        field = text.whole.get((first, last))
        if field is None or (
            value.is_short and not records.same_kind(value.argument, field, text.source.who)
        ):
            return ""
        return "named" if self._names(text, field.record) else "trusted"

    def _names(self, text: Text, record: tuple[str, ...] | None) -> bool:
        """Whether the user named this record by a field that outsiders cannot write."""
        if record is None:
            return False
        key = (text.number, record)
        if key not in self._named:
            self._named[key] = any(self._said(name) for name in text.naming.get(record, ()))
        return self._named[key]

    def _said(self, name: str) -> bool:
        """Whether the user wrote it himself."""
        amount = re.fullmatch(r"[0-9.]+", name)
        spelled = [fold(one).text.strip() for one in (spellings(float(name)) if amount else [name])]
        wanted = [_Value(name, needle, len(needle), "") for needle in spelled]
        return any(
            own
            for one in wanted
            for text, within in self._candidates(self._shelf.own, one)
            if text.source.origin == "user"
            for _, _, own in _matches(text, one, within)
        )


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
    form: Form | None = None

    @classmethod
    def of(cls, form: Form, argument: str) -> _Value:
        return cls(form.text, form.text, sum(sign.isalnum() for sign in form.text), argument, form)

    @property
    def is_short(self) -> bool:
        """Whether it says too little by itself to be looked for in any leaf: a few digits, a single sign."""
        return self.signs < _TELLING_SIGNS or (self.signs < _PLAIN_SIGNS and not self.needle.isalpha())

    def vouched(self, said: str) -> bool:
        """Whether `said` is this very value: forms that look alike (full-width) must stand as they are."""
        if INVISIBLE.search(self.written) or _breaks(self.written.strip()) > _breaks(said):
            return False
        return unicodedata.is_normalized("NFKC", self.written) or said == self.written


@dataclass(frozen=True)
class Text:
    """A source prepared for look-ups. `whole` says where whole leaves and keys of trusted output stand."""

    number: int
    source: Source
    folded: Folded
    quoted: Spans
    whole: dict[tuple[int, int], Field]

    @classmethod
    def of(cls, number: int, source: Source) -> Text:
        trusted = source.fields if source.origin == "trusted" else ()
        whole = records.spans(source.text, trusted)
        return cls(number, source, fold(source.text), Spans(source.quoted), whole)

    @cached_property
    def naming(self) -> dict[tuple[str, ...], list[str]]:
        """The records that something in it names which outsiders cannot write, each with what names it."""
        own = [field for field in self.source.fields if not self.quoted.touches(field.start, field.end)]
        found: dict[tuple[str, ...], list[str]] = {}
        for name, record in records.naming(self.source.text, own).items():
            found.setdefault(record, []).append(name)
        return found

    @cached_property
    def lists(self) -> dict[tuple[str, ...], records.Listed]:
        """Its records, those of one kind together."""
        return records.lists(self.source.fields)

    @property
    def octets(self) -> int:
        """About how much memory it takes."""
        signs = sys.getsizeof(self.source.text) + sys.getsizeof(self.folded.text)
        pieces = (part for part in vars(self.folded).values() if isinstance(part, array))
        return (
            _TEXT_OCTETS + signs + sum(map(sys.getsizeof, pieces)) + _FIELD_OCTETS * len(self.source.fields)
        )


class _Shelf:
    """What indexes of one session share: the texts that count, and their words. It only grows."""

    def __init__(self) -> None:
        self.sources: list[Source] = []
        self.texts: list[Text] = []
        self.by_entry: dict[str, Text] = {}
        self.own, self.outside = WordIndex(), WordIndex()
        self.length = 0
        self.growing = threading.Lock()
        self._octets = 0

    @property
    def octets(self) -> int:
        return self._octets + self.own.octets + self.outside.octets

    def add(self, source: Source) -> None:
        """What the agent says explains nothing, and is kept for its place only."""
        self.sources.append(source)
        if source.origin == "agent":
            return
        text = Text.of(len(self.texts), source)
        self.texts.append(text)
        self.by_entry[source.entry_id] = text
        self.length += len(text.folded.text)
        self._octets += text.octets
        (self.outside if source.origin == "untrusted" else self.own).add(text.number, text.folded.text)


def _matches(text: Text, value: _Value, within: Windows) -> Iterator[tuple[int, int, bool]]:
    """Where the value stands in the source's own text, and whether it stands there as itself and vouched."""
    for start, end, whole in occurrences(text.folded.text, value.needle, within):
        first, last = text.folded.span(start, end)
        yield first, last, whole and _is_own(text, value, start, end)


def _is_own(text: Text, value: _Value, start: int, end: int) -> bool:
    """Whether what stands at start:end of the folded text says the value, and its writer says it himself."""
    first, last = text.folded.span(start, end)
    if text.quoted.touches(first, last) or not value.vouched(text.source.text[first:last]):
        return False
    if value.form is not None and not _means(text, value.form, start, end):
        return False
    is_day = len(value.needle) < 3 and value.needle.isdigit()
    return not (is_day and dated(text.folded.text, start, end))


def _means(text: Text, form: Form, start: int, end: int) -> bool:
    """Whether a form says there what it is a form of; a day without its year only in the user's words."""
    if form.day is not None and text.source.origin != "user":
        return False
    return form.stands(text.folded.text, start, end, text.source.said)


def _breaks(text: str) -> int:
    """How many lines it ends: to a shell or a mail's head a new line is more than a blank."""
    return len(text.splitlines()) - 1 if text.splitlines() else 0


def _cased(address: str) -> str:
    """An address without what means the same in either case: scheme, host, a slash at the end."""
    return _HOST.sub("", address.strip()).rstrip("/")


def _origin(origin: str, source: Source, start: int, end: int) -> Origin:
    line = line_at(source.text, start, end)
    return Origin(origin, source.entry_id, start, end, line, source.who)
