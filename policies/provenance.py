"""Where each argument came from. Text can be talked round; the place a value stands in cannot.

For each leaf of the arguments, `trace` looks the value up in what was said in the session:

    user       it stands in what the user or operator wrote
    trusted    it stands in the output of a tool labelled trusted
    reviewer   a person edited it (`edited`)
    agent      it was found nowhere: the model composed it
    untrusted  it stands only in untrusted text, a passage quoted by the user included

This is the order from best to worst but for its middle: worst first it is untrusted, agent, reviewer,
trusted, user. An edit by a reviewer ranks below the user's words, because one reviewer must not be able to
pass for the user. A list's origin is its worst leaf.

How a value is matched, always erring to the stricter side:
- whole, at token boundaries, ignoring case, white space, compatibility forms (NFKC) and invisible characters.
  A value with invisible characters itself is never the user's, one in compatibility forms only if he wrote
  exactly that;
- for user and trusted text the neighbours must not continue the token, so that `a@b.example` does not stand
  in `a@b.example.evil.test`, nor 500 in 1,500;
- a passage marked as quoted is untrusted, and a match that touches one is no match in the user's own words;
- true, false, null, and values of fewer than two letters or digits are `agent`: they stand everywhere and
  prove nothing;
- a value found nowhere that contains an address, URL or long number which only untrusted text holds is
  `untrusted`; so is a leaf under such a key.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policies.text import INVISIBLE, Folded, fold, line_at
from policies.values import pointer

WORST_FIRST = ("untrusted", "agent", "reviewer", "trusted", "user")

_JOINERS = frozenset("@._-+/\\:%=&#~?!*|")
_MAX_JOINERS = 16
_MAX_TOKENS = 50
# Work for one value in one text stays bounded, however often a hostile text repeats it.
_SCAN_BUDGET = 1 << 18
_TOKEN = re.compile(r"[^\s,;<>()\"'\[\]{}]{6,512}")
_MAX_LOOKUPS = 2000
# Characters that all look-ups of one call may read together: some seconds at the very worst.
_MAX_WORK = 1 << 30
_TELLING = re.compile(r"[@/]|\w[.:]\w|\d{4}")
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_\-]*")


@dataclass(frozen=True)
class Source:
    """One text of the session. `origin` is user, trusted, agent or untrusted: what its writer may vouch for.

    `quoted` are spans (start, end; code points) of user text that the user only passed on.
    """

    entry_id: str
    origin: str
    text: str
    kind: str = ""
    who: str = ""
    quoted: tuple[tuple[int, int], ...] = ()


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
        self._texts = [(source, fold(source.text)) for source in sources if source.origin != "agent"]
        length = sum(len(text.text) for _, text in self._texts)
        self.lookups = max(1, min(_MAX_LOOKUPS, _MAX_WORK // max(1, length)))

    def find(self, value: str) -> Origin:
        """The best origin of one text value, as it stands."""
        needle = fold(value).text.strip()
        if sum(sign.isalnum() for sign in needle) < 2:
            return Origin("agent")
        wanted = _Value(value, needle)
        best: Origin | None = None
        for source, text in self._texts:
            hit = _look(source, text, wanted)
            if hit is not None and (best is None or _rank(hit.origin) > _rank(best.origin)):
                best = hit
                if best.origin == "user":
                    break
        return best or Origin("agent")


def trace(args: Mapping[str, Any], sources: Sequence[Source] | Index) -> dict[str, Origin]:
    """The origin of every leaf of checked arguments by its JSON Pointer. An empty list or object has none."""
    index = sources if isinstance(sources, Index) else Index(sources)
    known: dict[str, Origin] = {}
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


def _leaf(path: tuple[str | int, ...], value: Any, index: Index, known: dict[str, Origin]) -> Origin:
    found = _value(value, index, known)
    # Field names belong to the tool; a key that is no plain word (an address, say) is the model's own.
    for key in path[1:]:
        if isinstance(key, str) and not _PLAIN_KEY.fullmatch(key):
            found = min(found, _remembered(key, index, known), key=lambda origin: _rank(origin.origin))
    return found


def _value(value: Any, index: Index, known: dict[str, Origin]) -> Origin:
    if value is None or isinstance(value, bool):
        return Origin("agent")
    spellings = [value] if isinstance(value, str) else _spellings(value)
    found = max(
        (_remembered(text, index, known) for text in spellings), key=lambda origin: _rank(origin.origin)
    )
    if found.origin == "agent" and isinstance(value, str):
        return _tainted(value, index, known) or found
    return found


def _spellings(number: int | float) -> list[str]:
    """How people write a number: 1500 is also 1,500, and 12.5 also 12.50."""
    if isinstance(number, int):
        return [str(number)] + ([f"{number:,}"] if abs(number) >= 1000 else [])
    return [repr(number), f"{number:.2f}", f"{number:,.2f}"] if round(number, 2) == number else [repr(number)]


def _tainted(value: str, index: Index, known: dict[str, Origin]) -> Origin | None:
    telling = (
        token.group().strip(".:!?") for token in _TOKEN.finditer(value) if _TELLING.search(token.group())
    )
    for _, token in zip(range(_MAX_TOKENS), telling, strict=False):
        found = _remembered(token, index, known)
        if found.origin == "untrusted":
            return found
    return None


def _remembered(text: str, index: Index, known: dict[str, Origin]) -> Origin:
    if text not in known:
        # A call that carries more values than anybody will read is given the worst, not the benefit.
        known[text] = index.find(text) if len(known) < index.lookups else Origin("untrusted")
    return known[text]


@dataclass(frozen=True)
class _Value:
    written: str
    needle: str

    def vouched(self, said: str) -> bool:
        """Whether `said` is this very value: forms that look alike (full-width) must stand as they are."""
        if INVISIBLE.search(self.written):
            return False
        return unicodedata.is_normalized("NFKC", self.written) or said == self.written


def _look(source: Source, text: Folded, value: _Value) -> Origin | None:
    """The best match of one value in one text."""
    weaker: Origin | None = None
    for start, end, whole in _occurrences(text.text, value.needle):
        first, last = text.span(start, end)
        own = whole and not _touches(source.quoted, first, last) and value.vouched(source.text[first:last])
        if source.origin in ("user", "trusted") and own:
            return _origin(source.origin, source, first, last)
        if weaker is None and (source.origin == "untrusted" or _touches(source.quoted, first, last)):
            weaker = _origin("untrusted", source, first, last)
            if source.origin == "untrusted":
                break
    return weaker


def _occurrences(text: str, needle: str) -> Iterator[tuple[int, int, bool]]:
    """Where the value stands between word boundaries, and whether nothing beside it continues the token."""
    at = text.find(needle)
    for _ in range(max(16, _SCAN_BUDGET // len(needle))):
        if at < 0:
            return
        end = at + len(needle)
        if _apart(text, at - 1, needle[0]) and _apart(text, end, needle[-1]):
            yield at, end, _ends(text, at, -1, needle) and _ends(text, end - 1, 1, needle)
        at = text.find(needle, at + 1)


def _apart(text: str, beside: int, edge: str) -> bool:
    if not 0 <= beside < len(text):
        return True
    return not (_word(edge) and _word(text[beside]) and not _script_changes(edge, text[beside]))


def _ends(text: str, edge: int, step: int, needle: str) -> bool:
    """Whether the token ends at `edge` when read on in direction `step`."""
    at = edge + step
    if 0 <= at < len(text) and (_thousands(text, at) or (step < 0 and _led(text[at], needle))):
        return False
    for _ in range(_MAX_JOINERS):
        if not 0 <= at < len(text):
            return True
        if text[at] not in _JOINERS:
            return not _word(text[at]) or (at == edge + step and _script_changes(text[edge], text[at]))
        at += step
    return False


def _thousands(text: str, at: int) -> bool:
    return text[at] == "," and text[at - 1 : at].isdigit() and text[at + 1 : at + 2].isdigit()


def _led(before: str, needle: str) -> bool:
    """Whether the sign before makes it another value: -5 is not 5, ~/x and ../x are not /x."""
    return (before in "-+" and _number(needle)) or (before in _JOINERS and needle[0] in "/\\.~")


def _number(needle: str) -> bool:
    return needle[0].isdigit() and needle.replace(",", "").replace(".", "").isdigit()


def _word(sign: str) -> bool:
    return sign.isalnum() or sign == "_"


def _script_changes(edge: str, beside: str) -> bool:
    # Chinese, Japanese and Korean write addresses without a blank before the next word.
    return edge.isascii() and "\u2e80" <= beside <= "\uffdc"


def _touches(spans: Iterable[tuple[int, int]], start: int, end: int) -> bool:
    return any(min(span) < end and start < max(span) for span in spans)


def _origin(origin: str, source: Source, start: int, end: int) -> Origin:
    line = line_at(source.text, start, end)
    return Origin(origin, source.entry_id, start, end, line, source.who)
