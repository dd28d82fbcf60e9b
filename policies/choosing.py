"""Records that the user chose by what they are, not by their name. Pure.

"Delete the largest file" names one file of those that a trusted tool listed; and what a tool created on the
user's words is his as well. Each reading is narrow, since a value that counts as named is not asked about:

- the superlative stands in the user's own words, at most one word before a word for what the tool lists;
- the listing answered the user's question: no argument of it was the agent's choice, or "the largest" would
  be the largest of whatever the agent chose to list;
- every record of the list has the quantity, outsiders wrote none of them, and exactly one is the extreme.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from policies import records
from policies.lookup import Origin, Source
from policies.passages import Passages
from policies.records import Field
from policies.text import fold

_SIZE = frozenset(("size", "byte", "amount", "total", "value", "quantity", "balance"))
_TIME = frozenset(
    ("date", "time", "timestamp", "created", "modified", "updated", "sent", "received", "start")
)
_PRICE = frozenset(("price", "cost", "fee", "fare", "rate", "amount", "total"))
_GRADE = frozenset(("rating", "score", "star", "grade"))
_LENGTH = frozenset(("length", "duration", "distance"))
# Each phrase with the words of the keys that it speaks of, and whether it means the greatest.
PHRASES: Mapping[str, tuple[frozenset[str], bool]] = {
    "largest": (_SIZE, True), "biggest": (_SIZE, True), "smallest": (_SIZE, False),
    "newest": (_TIME, True), "latest": (_TIME, True), "most recent": (_TIME, True), "oldest": (_TIME, False),
    "cheapest": (_PRICE, False), "least expensive": (_PRICE, False), "most expensive": (_PRICE, True),
    "best rated": (_GRADE, True), "highest rated": (_GRADE, True), "worst rated": (_GRADE, False),
    "lowest rated": (_GRADE, False), "longest": (_LENGTH, True), "shortest": (_LENGTH, False),
}  # fmt: skip
_LONGEST = 1 << 16
_NUMBER = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,9})?")
_IDENTITY = frozenset(("id", "uuid", "guid", "ref", "reference", "number"))
# Words of a tool's name that say what it does, not what it lists: "the oldest list" is no oldest file.
_VERBS = frozenset(
    ("get", "list", "read", "search", "find", "fetch", "show", "query", "all", "by", "in", "of")
)

_Listed = Mapping[tuple[str, ...], Sequence[tuple[Field, str]]]


@dataclass(frozen=True)
class Choice:
    """What the user said of a record: the keys it is about, which extreme, and what kind of thing it is."""

    keys: frozenset[str]
    greatest: bool
    kind: str


class Choices:
    """The user's choices in the words of a session, read when first asked for."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = tuple(sources)
        self._leaves: dict[str, dict[tuple[int, int], Field]] = {}
        self._extremes: dict[tuple[str, tuple[str, ...]], frozenset[tuple[str, ...]]] = {}

    def made(self, found: Origin) -> bool:
        """Whether a value that a trusted tool returned stands in a record that the user's words choose."""
        source = self._by_entry.get(found.entry_id)
        if source is None or source.origin != "trusted" or source.call is None:
            return False
        if source.call.is_the_users_act:
            made = self._field(source, found)
            return made is not None and bool(_IDENTITY & set(records.words(made.key)))
        if not source.call.is_the_users_question or not self._said:
            return False
        field = self._field(source, found)
        return (
            field is not None
            and field.record is not None
            and field.record in self._best(source, field.record)
        )

    def _field(self, source: Source, found: Origin) -> Field | None:
        if source.entry_id not in self._leaves:
            self._leaves[source.entry_id] = records.spans(source.text, source.fields)
        return self._leaves[source.entry_id].get((found.start, found.end))

    def _best(self, source: Source, like: tuple[str, ...]) -> frozenset[tuple[str, ...]]:
        """Of all records of this kind in a list, those that the user's words single out."""
        key = (source.entry_id, _shape(like))
        if key not in self._extremes:
            kind = {word for step in (source.who, *like) for word in records.words(step)} - _VERBS
            wanted = [choice for choice in self._said if choice.kind in kind]
            listed = _listed(source, like) if wanted else {}
            best = {_extreme(listed, choice) for choice in wanted}
            self._extremes[key] = frozenset(record for record in best if record is not None)
        return self._extremes[key]

    @cached_property
    def _by_entry(self) -> dict[str, Source]:
        return {source.entry_id: source for source in self._sources}

    @cached_property
    def _said(self) -> frozenset[Choice]:
        own = (_own_words(source) for source in self._sources if source.origin == "user")
        return frozenset(choice for text in own for choice in _choices(text))


def _own_words(source: Source) -> str:
    """The user's text without what he only passed on; "" for one too long to be an order."""
    if len(source.text) > _LONGEST:
        return ""
    text, at = "", 0
    for start, end in sorted((min(span), max(span)) for span in source.quoted):
        text += source.text[at:start] + "\n;\n"
        at = max(at, end)
    return fold(text + source.text[at:]).text


def _choices(text: str) -> Iterable[Choice]:
    for phrase, (keys, greatest) in PHRASES.items():
        if phrase.split()[0] not in text:
            continue
        pattern = rf"\b{phrase.replace(' ', '[ -]')} (?:([^\W\d_]+) )?([^\W\d_]+)\b"
        for said in re.finditer(pattern, text):
            for word in (said[1], said[2]):
                if word:
                    yield from (Choice(keys, greatest, kind) for kind in records.words(word))


def _listed(source: Source, like: tuple[str, ...]) -> _Listed:
    """All records of the same kind, with the values of their fields; "" for what outsiders write."""
    found: dict[tuple[str, ...], list[tuple[Field, str]]] = defaultdict(list)
    quoted = Passages(source.quoted)
    for field in source.fields:
        if field.record is not None and _shape(field.record) == _shape(like):
            outside = quoted.touch(field.start, field.end)
            value = "" if outside else source.text[field.start : field.end].strip()
            found[field.record].append((field, value))
    return found


def _shape(path: tuple[str, ...]) -> tuple[str, ...]:
    return tuple("*" if step.isdigit() else step for step in path)


def _extreme(listed: _Listed, choice: Choice) -> tuple[str, ...] | None:
    """The one record that stands out; None where none does, or where two keys point to different ones."""
    names = {field.path[-1] for fields in listed.values() for field, _ in fields}
    spoken = [name for name in names if choice.keys & set(records.words(name))]
    found = {_standing_out(listed, name, choice.greatest) for name in spoken}
    return next(iter(found)) if len(found) == 1 else None


def _standing_out(listed: _Listed, name: str, greatest: bool) -> tuple[str, ...] | None:
    values = {record: _quantity(fields, (*record, name)) for record, fields in listed.items()}
    known = [value for value in values.values() if value is not None]
    if len(known) < len(values) or len(known) < 2:
        return None
    best = max(known) if greatest else min(known)
    there = [record for record, value in values.items() if value == best]
    return there[0] if len(there) == 1 else None


def _quantity(fields: Sequence[tuple[Field, str]], path: tuple[str, ...]) -> float | None:
    """A number, or a date and time as seconds; None for anything else, and for what outsiders wrote."""
    text = next((value for field, value in fields if field.path == path), "")
    if _NUMBER.fullmatch(text):
        return float(text)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
