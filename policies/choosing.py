"""Records that the user chose by what they are, not by their name. Pure.

"Delete the largest file" names one file of those that a trusted tool listed; and what a tool created on the
user's words is his as well. Each reading is narrow, since a value that counts as named is not asked about:

- the superlative stands in the user's own words, at most one word before a word for what the tool lists, and
  nothing before it in the sentence says "all but", "not" or "keep";
- the listing answered the user's question: no argument of it was the agent's choice, or "the largest" would
  be the largest of whatever the agent chose to list;
- every record of the list has the quantity, outsiders wrote none of them, and exactly one is the extreme.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from policies import records
from policies.lookup import Index, Origin, Source, Text
from policies.records import Field, Listed
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
# What stands before a choice in the same sentence and may mean that just this one is spared.
_EXCEPT = re.compile(
    r"\b(?:not|never|no|without|except|but|besides|excluding|apart|other|rather|instead|unlike|nor|neither"
    r"|keep|leave|preserve|retain|spare|skip|avoid|ignore)\b[^.!?;]*\Z|n['\u2019]t\b[^.!?;]*\Z"
)
_NEAR = 80
_IDENTITY = frozenset(("id", "uuid", "guid", "ref", "reference", "number"))
# Words of a tool's name that say what it does, not what it lists: "the oldest list" is no oldest file.
_VERBS = frozenset(
    ("get", "list", "read", "search", "find", "fetch", "show", "query", "all", "by", "in", "of")
)


@dataclass(frozen=True)
class Choice:
    """What the user said of a record: the keys it is about, which extreme, and what kind of thing it is."""

    keys: frozenset[str]
    greatest: bool
    kind: str


class Choices:
    """The user's choices in the words of a session, read when first asked for."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._extremes: dict[tuple[str, tuple[str, ...]], frozenset[tuple[str, ...]]] = {}

    def made(self, found: Origin) -> bool:
        """Whether a value that a trusted tool returned stands in a record that the user's words choose."""
        text = self._index.text(found.entry_id)
        if text is None or text.source.origin != "trusted" or text.source.call is None:
            return False
        field = text.whole.get((found.start, found.end))
        if field is None:
            return False
        if text.source.call.is_the_users_act:
            return bool(_IDENTITY & set(records.words(field.key)))
        if not text.source.call.is_the_users_question or not self._said:
            return False
        return field.record is not None and field.record in self._best(text, field.record)

    def _best(self, text: Text, like: tuple[str, ...]) -> frozenset[tuple[str, ...]]:
        """Of all records of this kind in a list, those that the user's words single out."""
        key = (text.source.entry_id, records.shape(like))
        if key not in self._extremes:
            kind = {word for step in (text.source.who, *like) for word in records.words(step)} - _VERBS
            wanted = [choice for choice in self._said if choice.kind in kind]
            best = {_extreme(text, text.lists[key[1]], choice) for choice in wanted}
            self._extremes[key] = frozenset(record for record in best if record is not None)
        return self._extremes[key]

    @cached_property
    def _said(self) -> frozenset[Choice]:
        own = (_own_words(source) for source in self._index.sources if source.origin == "user")
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
            if _EXCEPT.search(text, max(0, said.start() - _NEAR), said.start()):
                continue
            for word in (said[1], said[2]):
                if word:
                    yield from (Choice(keys, greatest, kind) for kind in records.words(word))


def _extreme(text: Text, listed: Listed, choice: Choice) -> tuple[str, ...] | None:
    """The one record that stands out; None where none does, or where two keys point to different ones."""
    spoken = [name for name in listed.names if choice.keys & set(records.words(name))]
    found = {_standing_out(text, listed, name, choice.greatest) for name in spoken}
    return next(iter(found)) if len(found) == 1 else None


def _standing_out(text: Text, listed: Listed, name: str, greatest: bool) -> tuple[str, ...] | None:
    values: dict[tuple[str, ...], float] = {}
    for record, fields in listed.records.items():
        value = _quantity(text, fields.get(name))
        if value is None:
            return None
        values[record] = value
    if len(values) < 2:
        return None
    best = max(values.values()) if greatest else min(values.values())
    there = [record for record, value in values.items() if value == best]
    return there[0] if len(there) == 1 else None


def _quantity(of: Text, field: Field | None) -> float | None:
    """A number, or a date and time as seconds; None for anything else, and for what outsiders wrote."""
    if field is None or of.quoted.touches(field.start, field.end):
        return None
    text = of.source.text[field.start : field.end].strip()
    if _NUMBER.fullmatch(text):
        return float(text)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
