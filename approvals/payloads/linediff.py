"""Two texts line by line: what came, what went, and what stayed folded with its count. Pure.

Anchored at lines that stand once in both texts (patience diff); difflib compares what lies between, as long
as that stays cheap. Beyond it one stretch is shown as replaced by the other: true, if not the shortest.
"""

from __future__ import annotations

import difflib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

AROUND = 3
# Products of lengths: what one stretch, and all together, may cost (about 0.2 s at worst).
ONE_STRETCH, ALL_STRETCHES = 250_000, 1_000_000
# A fold longer than this is not written out a second time; the whole text stands below the difference.
LONGEST_FOLD = 400

Same = tuple[int, int, int]


@dataclass(frozen=True)
class Line:
    """One line: `sign` is "+", "-" or " "; its numbers in the text before and after, 0 where it is not."""

    sign: str
    before: int
    after: int
    text: str


@dataclass(frozen=True)
class Stretch:
    """Lines that belong together. `folded` ones are unchanged; `count` is how many there are, also where
    they are too many to be written out here and `lines` is empty.
    """

    lines: tuple[Line, ...]
    folded: bool = False
    count: int = 0


@dataclass(frozen=True)
class Diff:
    """A whole difference: every line of both texts is in one of the stretches or counted in a fold."""

    stretches: tuple[Stretch, ...]
    added: int
    removed: int

    @property
    def same(self) -> bool:
        return not self.added and not self.removed


def diff(before: str, after: str, room: int = ALL_STRETCHES) -> Diff:
    """What happened to the lines of a text; `room` is what looking for it may cost."""
    old, new = before.split("\n"), after.split("\n")
    lines = list(_lines(old, new, _same(old, new, room)))
    added, removed = (sum(line.sign == sign for line in lines) for sign in "+-")
    return Diff(tuple(_folded(lines)), added, removed)


def _lines(old: Sequence[str], new: Sequence[str], same: Sequence[Same]) -> Iterator[Line]:
    at, to = 0, 0
    for start, begin, size in (*same, (len(old), len(new), 0)):
        yield from (Line("-", at + 1, 0, old[at]) for at in range(at, start))
        yield from (Line("+", 0, to + 1, new[to]) for to in range(to, begin))
        yield from (Line(" ", start + n + 1, begin + n + 1, old[start + n]) for n in range(size))
        at, to = start + size, begin + size


def _folded(lines: Sequence[Line]) -> Iterator[Stretch]:
    """Stretches: what changed with the lines around it, and between those what stayed."""
    changed = [at for at, line in enumerate(lines) if line.sign != " "]
    done = 0
    for first, last in _grouped(changed):
        start, stop = max(done, first - AROUND), min(len(lines), last + AROUND + 1)
        yield from _fold(lines[done:start])
        yield Stretch(tuple(lines[start:stop]))
        done = stop
    yield from _fold(lines[done:])


def _grouped(changed: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last of changes so near to each other that no fold fits between."""
    group: list[int] = []
    for at in changed:
        if group and at - group[-1] > 2 * AROUND + 1:
            yield group[0], group[-1]
            group = []
        group.append(at)
    if group:
        yield group[0], group[-1]


def _fold(lines: Sequence[Line]) -> Iterator[Stretch]:
    if lines:
        written = tuple(lines) if len(lines) <= LONGEST_FOLD else ()
        yield Stretch(written, folded=True, count=len(lines))


def _same(old: Sequence[str], new: Sequence[str], room: int) -> list[Same]:
    head = next(
        (n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new))
    )
    most = min(len(old), len(new)) - head
    tail = next((n for n in range(most) if old[-1 - n] != new[-1 - n]), most)
    found = [(0, 0, head), *_between(old, new, head, tail, room), (len(old) - tail, len(new) - tail, tail)]
    return [each for each in found if each[2]]


def _between(old: Sequence[str], new: Sequence[str], head: int, tail: int, room: int) -> Iterator[Same]:
    """What stayed in the middle, by anchors and what difflib finds between them."""
    end = (len(old) - tail, len(new) - tail)
    at, to = head, head
    for anchor, place in (*_anchors(old, new, head, end), end):
        cost = (anchor - at) * (place - to)
        if 0 < cost <= min(room, ONE_STRETCH):
            room -= cost
            matcher = difflib.SequenceMatcher(None, old[at:anchor], new[to:place], autojunk=False)
            yield from ((at + i, to + j, size) for i, j, size in matcher.get_matching_blocks() if size)
        if (anchor, place) != end:
            yield anchor, place, 1
        at, to = anchor + 1, place + 1


def _anchors(
    old: Sequence[str], new: Sequence[str], head: int, end: tuple[int, int]
) -> list[tuple[int, int]]:
    """Lines that stand once on either side, as many of them as keep their order (longest rising run)."""
    once = Counter(old[head : end[0]])
    places = {line: at for at, line in enumerate(new[head : end[1]], head)}
    only = Counter(new[head : end[1]])
    pairs = [
        (at, places[line]) for at, line in enumerate(old[head : end[0]], head)
        if once[line] == 1 and only[line] == 1
    ]  # fmt: skip
    return _rising(pairs)


def _rising(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    tops: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for at, (_, place) in enumerate(pairs):
        pile = bisect_left(tops, place)
        before.append(ends[pile - 1] if pile else -1)
        tops[pile : pile + 1], ends[pile : pile + 1] = [place], [at]
    found: list[tuple[int, int]] = []
    at = ends[-1] if ends else -1
    while at >= 0:
        found.append(pairs[at])
        at = before[at]
    return found[::-1]
