"""Where each argument came from. Text can be talked round; the place a value stands in cannot.

For each leaf of the arguments, `trace` looks the value up in what was said in the session:

    user       it stands in what the user or operator wrote
    named      the user named it without writing it: it stands in a trusted tool's record that he named by
               another of its fields (the id of the file "plan.txt") or by what it is ("the largest file", see
               `choosing`), a tool returned it that acted on his words, or it joins his words to trusted ones
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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from policies.choosing import Choices
from policies.dates import moment
from policies.lookup import WORST_FIRST, Index, Origin, Source, rank, spellings
from policies.values import leaves, pointer, stand_in

__all__ = ["WORST_FIRST", "Index", "Origin", "Source", "edited", "summarize", "trace"]

_MAX_TOKENS = 50
_TOKEN = re.compile(r"[^\s,;<>()\"'\[\]{}]{6,512}")
_TELLING = re.compile(r"[@/]|\w[.:]\w|\d{4}")
_MAX_WORDS = 12
# A time of day belongs to a date at most this many characters away.
_BESIDE = 24
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_\-]*")


def trace(
    args: Mapping[str, Any], sources: Sequence[Source] | Index, schema: Mapping[str, Any] | None = None
) -> dict[str, Origin]:
    """The origin of every leaf of checked arguments by its JSON Pointer.

    `schema` is that of the tool: a key within an argument that it does not name is looked up as a value is,
    being the model's choice; without one, only a key that is no plain word. An empty list or object has the
    origin of such keys above it, or else none.
    """
    index = sources if isinstance(sources, Index) else Index(sources)
    known: dict[tuple[str, str], Origin] = {}
    choices = Choices(index)
    fields = _Fields(schema)
    found = {pointer(path): _leaf(path, value, index, known, fields) for path, value in leaves(args, ())}
    for path in _empty(args, ()):
        keys = [_remembered(key, index, known) for key in fields.others(path)]
        if keys:
            found[pointer(path)] = min(keys, key=lambda origin: rank(origin.origin))
    return {path: _chosen(origin, choices) for path, origin in found.items()}


class _Fields:
    """The names that a tool's schema gives to fields, read when a key is first asked about."""

    def __init__(self, schema: Mapping[str, Any] | None) -> None:
        self._schema = schema

    def others(self, path: Sequence[str | int]) -> list[str]:
        """The keys below an argument that are none of these names."""
        return [key for key in path[1:] if isinstance(key, str) and not self._names(key)]

    def _names(self, key: str) -> bool:
        return bool(_PLAIN_KEY.fullmatch(key)) if self._schema is None else key in self._declared

    @cached_property
    def _declared(self) -> frozenset[str]:
        return frozenset(_properties(self._schema))


def _properties(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        named = schema.get("properties")
        yield from named if isinstance(named, Mapping) else ()
        for part in schema.values():
            yield from _properties(part)
    elif isinstance(schema, list | tuple):
        for part in schema:
            yield from _properties(part)


def _empty(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if not isinstance(value, Mapping | list):
        return
    if not value:
        yield path
    for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
        yield from _empty(item, (*path, key))


def _chosen(found: Origin, choices: Choices) -> Origin:
    """A trusted value of the record that the user's words single out is one that he named."""
    return replace(found, origin="named") if found.origin == "trusted" and choices.made(found) else found


def summarize(origins: Mapping[str, Origin], authority: Iterable[str] | None) -> dict[str, str]:
    """The fact `origin`: of every argument its worst leaf, and of each dotted authority path (`mail.to`) too.

    `authority` are the tool's authority arguments, None if nobody declared the tool.
    """
    worst: dict[str, str] = {}
    for path, found in origins.items():
        steps = [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:]]
        # An authority path reads through lists and maps: `people.mail` is the mail of each of them.
        dotted = ".".join(step for step in steps if not step.isdigit()) + "."
        names = {steps[0]} | {name for name in authority or () if _leads_to(name, steps, dotted)}
        for name in names:
            worst[name] = min(worst.get(name, "user"), found.origin, key=rank)
    return worst


def _leads_to(name: str, steps: Sequence[str], dotted: str) -> bool:
    first, *more = name.split(".")
    return dotted.startswith(name + ".") or (first == steps[0] and stand_in(more, steps[1:]))


def edited(
    origins: Mapping[str, Origin], *, before: Any, after: Any, entry_id: str, who: str
) -> dict[str, Origin]:
    """The origins of the edited arguments `after`: every leaf that differs from `before` is the reviewer's.

    `origins` are those of `after` traced anew.
    """
    earlier = {pointer(path): value for path, value in leaves(before, ())}
    result = dict(origins)
    for path, value in leaves(after, ()):
        place = pointer(path)
        if place not in earlier or type(earlier[place]) is not type(value) or earlier[place] != value:
            result[place] = Origin("reviewer", entry_id=entry_id, who=who)
    return result


def _leaf(
    path: tuple[str | int, ...],
    value: Any,
    index: Index,
    known: dict[tuple[str, str], Origin],
    fields: _Fields,
) -> Origin:
    argument = next((step for step in reversed(path) if isinstance(step, str)), "")
    found = _value(value, index, known, argument)
    # Field names belong to the tool; any other key (an account, say) is the model's own.
    keys = (_remembered(key, index, known) for key in fields.others(path))
    return min((found, *keys), key=lambda origin: rank(origin.origin))


def _value(value: Any, index: Index, known: dict[tuple[str, str], Origin], argument: str) -> Origin:
    if value is None or isinstance(value, bool):
        return Origin("agent")
    written = [value] if isinstance(value, str) else spellings(value)
    found = max(
        (_remembered(text, index, known, argument) for text in written),
        key=lambda origin: rank(origin.origin),
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
    return min(day, time, key=lambda origin: rank(origin.origin))


def _joined(value: str, index: Index, known: dict[tuple[str, str], Origin]) -> Origin | None:
    """A value of two halves, one in the user's words and one in trusted output, is one that he named.

    Two halves of his own words are not: "pay Ada, not Bob" does not say "pay Bob". Nor are two addresses:
    those are two values in one.
    """
    words = value.split()
    if not 2 <= len(words) <= _MAX_WORDS or value.count("@") > 1 or value.count("://") > 1:
        return None
    for at in range(1, len(words)):
        halves = [_remembered(" ".join(half), index, known) for half in (words[:at], words[at:]) if half]
        if sorted(half.origin for half in halves) in (["named", "user"], ["trusted", "user"]):
            trusted = next(half for half in halves if half.origin != "user")
            return replace(trusted, origin="named")
    return None


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
