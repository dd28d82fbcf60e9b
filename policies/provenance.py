"""Where each argument came from. Text can be talked round; the place a value stands in cannot.

For each leaf of the arguments, `trace` looks the value up in what was said in the session:

    user       it stands in what the user or operator wrote
    named      the user named it without writing it: it stands in a trusted tool's record that he named by
               another of its fields (the id of the file "plan.txt"), or it joins his words to trusted ones
    trusted    it stands in the output of a tool labelled trusted
    reviewer   a person edited it (`edited`)
    agent      it was found nowhere: the model composed it
    untrusted  it stands only in untrusted text, a passage quoted by the user included

This is the order from best to worst but for its middle: worst first it is untrusted, agent, reviewer,
trusted, named, user. An edit by a reviewer ranks below the user's words, because one reviewer must not be
able to pass for the user. A list's origin is its worst leaf.

How a value is matched, always erring to the stricter side:
- whole, at token boundaries, ignoring case, white space, compatibility forms (NFKC) and invisible characters.
  A value with invisible characters itself is never the user's, one in compatibility forms only if he wrote
  exactly that;
- for user and trusted text the neighbours must not continue the token, so that `a@b.example` does not stand
  in `a@b.example.evil.test`, nor 500 in 1,500;
- a passage marked as quoted is untrusted, and a match that touches one is no match in the user's own words;
- in a trusted tool's structured output a value is trusted only where it is a whole leaf or key: a part of
  one may be an outsider's. The key of a leaf with digits and below
  four signs must be named like the argument;
- one or two digits that stand beside the name of a month are a date's, and no value of their own;
- true, false, null, and values of fewer than two letters or digits are `agent`, unless they are such a leaf:
  they stand everywhere and prove nothing;
- a value found nowhere that contains an address, URL or long number which only untrusted text holds is
  `untrusted`; so is a leaf under such a key.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from policies import records
from policies.dates import moment
from policies.matching import dated, occurrences
from policies.records import Field
from policies.text import INVISIBLE, Folded, fold, line_at
from policies.values import pointer

WORST_FIRST = ("untrusted", "agent", "reviewer", "trusted", "named", "user")

_MAX_TOKENS = 50
_TOKEN = re.compile(r"[^\s,;<>()\"'\[\]{}]{6,512}")
_MAX_LOOKUPS = 2000
# Characters that all look-ups of one call may read together: some seconds at the very worst.
_MAX_WORK = 1 << 30
_TELLING = re.compile(r"[@/]|\w[.:]\w|\d{4}")
# Fewer letters and digits than the first prove nothing in a text; fewer than the second, not which leaf.
_TELLING_SIGNS = 2
_PLAIN_SIGNS = 4
_MAX_WORDS = 12
# A time of day belongs to a date at most this many characters away.
_BESIDE = 24
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_\-]*")


@dataclass(frozen=True)
class Source:
    """One text of the session. `origin` is user, trusted, agent or untrusted: what its writer may vouch for.

    `quoted` are spans (start, end; code points) of user text that the user only passed on, or of trusted
    output that outsiders can write. `fields` are the leaves of structured output, none for plain text.
    """

    entry_id: str
    origin: str
    text: str
    kind: str = ""
    who: str = ""
    quoted: tuple[tuple[int, int], ...] = ()
    fields: tuple[Field, ...] = ()


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
        self._texts = [_Text.of(source) for source in sources if source.origin != "agent"]
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
            if hit is not None and (best is None or _rank(hit.origin) > _rank(best.origin)):
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
            if origin and (best is None or _rank(origin) > _rank(best.origin)):
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
        spelled = [fold(one).text.strip() for one in (_spellings(float(name)) if amount else [name])]
        wanted = [_Value(name, needle, len(needle), "") for needle in spelled]
        return any(own for text in self._users for one in wanted for _, _, own in _matches(text, one))


def trace(args: Mapping[str, Any], sources: Sequence[Source] | Index) -> dict[str, Origin]:
    """The origin of every leaf of checked arguments by its JSON Pointer. An empty list or object has none."""
    index = sources if isinstance(sources, Index) else Index(sources)
    known: dict[tuple[str, str], Origin] = {}
    return {pointer(path): _leaf(path, value, index, known) for path, value in _leaves(args, ())}


def summarize(origins: Mapping[str, Origin], authority: Iterable[str] | None) -> dict[str, str]:
    """The fact `origin`: of every argument its worst leaf, and of each dotted authority path (`mail.to`) too.

    `authority` are the tool's authority arguments, None if nobody declared the tool.
    """
    worst: dict[str, str] = {}
    for path, found in origins.items():
        steps = [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:]]
        # An authority path reads through lists: `people.mail` is the mail of each of them.
        dotted = ".".join(step for step in steps if not step.isdigit()) + "."
        names = {steps[0]} | {name for name in authority or () if dotted.startswith(name + ".")}
        for name in names:
            worst[name] = min(worst.get(name, "user"), found.origin, key=_rank)
    return worst


def edited(
    origins: Mapping[str, Origin], *, before: Any, after: Any, entry_id: str, who: str
) -> dict[str, Origin]:
    """The origins of the edited arguments `after`: every leaf that differs from `before` is the reviewer's.

    `origins` are those of `after` traced anew.
    """
    earlier = {pointer(path): value for path, value in _leaves(before, ())}
    result = dict(origins)
    for path, value in _leaves(after, ()):
        place = pointer(path)
        if place not in earlier or type(earlier[place]) is not type(value) or earlier[place] != value:
            result[place] = Origin("reviewer", entry_id=entry_id, who=who)
    return result


def _rank(origin: str) -> int:
    return WORST_FIRST.index(origin)


def _leaves(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))
    else:
        yield path, value


def _leaf(
    path: tuple[str | int, ...], value: Any, index: Index, known: dict[tuple[str, str], Origin]
) -> Origin:
    argument = next((step for step in reversed(path) if isinstance(step, str)), "")
    found = _value(value, index, known, argument)
    # Field names belong to the tool; a key that is no plain word (an address, say) is the model's own.
    for key in path[1:]:
        if isinstance(key, str) and not _PLAIN_KEY.fullmatch(key):
            found = min(found, _remembered(key, index, known), key=lambda origin: _rank(origin.origin))
    return found


def _value(value: Any, index: Index, known: dict[tuple[str, str], Origin], argument: str) -> Origin:
    if value is None or isinstance(value, bool):
        return Origin("agent")
    spellings = [value] if isinstance(value, str) else _spellings(value)
    found = max(
        (_remembered(text, index, known, argument) for text in spellings),
        key=lambda origin: _rank(origin.origin),
    )
    if found.origin == "agent" and isinstance(value, str):
        dated = _moment(value, index, known)
        return dated or _tainted(value, index, known) or _joined(value, index, known) or found
    return found


def _moment(value: str, index: Index, known: dict[tuple[str, str], Origin]) -> Origin | None:
    """A date written in another way, its time of day beside it: then the worse of the two origins."""
    wanted = moment(value)
    if wanted is None:
        return None
    said = (_remembered(day, index, known) for day in wanted.days)
    day = next((found for found in said if found.origin not in ("agent", "untrusted")), None)
    if day is None or not wanted.time:
        return day
    time = _remembered(wanted.time, index, known)
    if time.entry_id != day.entry_id or not -_BESIDE <= time.start - day.end <= _BESIDE:
        return None
    return min(day, time, key=lambda origin: _rank(origin.origin))


def _joined(value: str, index: Index, known: dict[tuple[str, str], Origin]) -> Origin | None:
    """A value of two halves, one in the user's words and one in trusted output, is one that he named.

    Two halves of his own words are not: "pay Ada, not Bob" does not say "pay Bob".
    """
    words = value.split()
    if not 2 <= len(words) <= _MAX_WORDS:
        return None
    for at in range(1, len(words)):
        halves = [_remembered(" ".join(half), index, known) for half in (words[:at], words[at:]) if half]
        if sorted(half.origin for half in halves) in (["named", "user"], ["trusted", "user"]):
            trusted = next(half for half in halves if half.origin != "user")
            return replace(trusted, origin="named")
    return None


def _spellings(number: int | float) -> list[str]:
    """How people write a number: 1500 is also 1,500, and 12.5 also 12.50."""
    if isinstance(number, int):
        return [str(number)] + ([f"{number:,}"] if abs(number) >= 1000 else [])
    return [repr(number), f"{number:.2f}", f"{number:,.2f}"] if round(number, 2) == number else [repr(number)]


def _tainted(value: str, index: Index, known: dict[tuple[str, str], Origin]) -> Origin | None:
    telling = (
        token.group().strip(".:!?") for token in _TOKEN.finditer(value) if _TELLING.search(token.group())
    )
    for _, token in zip(range(_MAX_TOKENS), telling, strict=False):
        found = _remembered(token, index, known)
        if found.origin == "untrusted":
            return found
    return None


def _remembered(text: str, index: Index, known: dict[tuple[str, str], Origin], argument: str = "") -> Origin:
    key = (text, argument)
    if key not in known:
        # A call that carries more values than anybody will read is given the worst, not the benefit.
        known[key] = index.find(text, argument) if len(known) < index.lookups else Origin("untrusted")
    return known[key]


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
