"""The look-up written the plain way, to check the fast one against: every text is read for every value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from policies import records
from policies.lookup import (
    _PLAIN_SIGNS,
    _TELLING_SIGNS,
    Index,
    Origin,
    Source,
    _origin,
    _touches,
    _Value,
    rank,
    spellings,
)
from policies.matching import _apart, _ends, dated
from policies.text import _PIECES, _compatible


@dataclass(frozen=True)
class Text:
    """Where each sign of the comparable form came from: (start, end) in the original."""

    source: Source
    text: str
    places: list[tuple[int, int]]

    def span(self, start: int, end: int) -> tuple[int, int]:
        return self.places[start][0], self.places[end - 1][1]


def fold(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The comparable form, cluster by cluster."""
    parts: list[str] = []
    places: list[tuple[int, int]] = []
    for piece in _PIECES.finditer(text):
        begin, stop = piece.span()
        written = piece.group()
        shown = " " if piece.lastgroup == "space" else _compatible(written).lower()
        if piece.lastgroup == "plain":
            shown = written.lower()
        parts.append(shown)
        one_for_one = len(shown) == stop - begin
        places += [(begin + at, begin + at + 1) if one_for_one else (begin, stop) for at in range(len(shown))]
    return "".join(parts), places


class Scan(Index):
    """An index that keeps none."""

    def __init__(self, sources: list[Source]) -> None:
        super().__init__(sources)
        self.read = [Text(source, *fold(source.text)) for source in sources if source.origin != "agent"]

    def find(self, value: str, argument: str = "") -> Origin:
        needle = fold(value)[0].strip()
        signs = sum(sign.isalnum() for sign in needle)
        wanted = _Value(value, needle, signs, argument)
        hits = [hit for text in self.read for hit in self.hits(text, wanted)] if signs else []
        return max(hits, key=lambda hit: rank(hit.origin), default=Origin("agent"))

    def hits(self, text: Text, value: _Value) -> Iterator[Origin]:
        source = text.source
        for first, last, own in matches(text, value):
            said = self.worth(text, first, last, value) if own else ""
            outside = source.origin == "untrusted" or _touches(source.quoted, first, last)
            if not said and outside and value.signs >= _TELLING_SIGNS:
                said = "untrusted"
            if said:
                yield _origin(said, source, first, last)

    def worth(self, text: Text, first: int, last: int, value: _Value) -> str:
        source = text.source
        if source.origin == "user" or not source.fields:
            return source.origin if value.signs >= _TELLING_SIGNS else ""
        whole = records.spans(source.text, source.fields if source.origin == "trusted" else ())
        field = whole.get((first, last))
        short = value.signs < _TELLING_SIGNS or (value.signs < _PLAIN_SIGNS and not value.needle.isalpha())
        if field is None or (short and not records.same_kind(value.argument, field, source.who)):
            return ""
        return "named" if self.named(source, field.record) else "trusted"

    def named(self, source: Source, record: tuple[str, ...] | None) -> bool:
        own = [field for field in source.fields if not _touches(source.quoted, field.start, field.end)]
        names = records.naming(source.text, own).items()
        return record is not None and any(self.said(name) for name, named in names if named == record)

    def said(self, name: str) -> bool:
        amount = name.replace(".", "").isdecimal()
        spelled = [fold(one)[0].strip() for one in (spellings(float(name)) if amount else [name])]
        users = [text for text in self.read if text.source.origin == "user"]
        wanted = [_Value(name, needle, len(needle), "") for needle in spelled]
        return any(own for text in users for one in wanted for _, _, own in matches(text, one))


def matches(text: Text, value: _Value) -> Iterator[tuple[int, int, bool]]:
    """Every place where the value stands between word boundaries, and whether its writer says it there."""
    for start in range(len(text.text) - len(value.needle) + 1):
        end = start + len(value.needle)
        here = text.text.startswith(value.needle, start)
        if not here or not _apart(text.text, start - 1, value.needle[0]):
            continue
        if not _apart(text.text, end, value.needle[-1]):
            continue
        whole = _ends(text.text, start, -1, value.needle) and _ends(text.text, end - 1, 1, value.needle)
        first, last = text.span(start, end)
        day = len(value.needle) < 3 and value.needle.isdigit() and dated(text.text, start, end)
        said = value.vouched(text.source.text[first:last])
        yield first, last, whole and said and not day and not _touches(text.source.quoted, first, last)
