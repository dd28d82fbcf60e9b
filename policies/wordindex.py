"""Texts by their words, so that a value is looked up and not searched for. Pure.

Each text is cut into blocks, and every word leads to the blocks that hold it. A value can stand only where
all its words do, so most look-ups are a few steps in a dictionary; what is left to search are some blocks.
Chosen by measurement over one scan of all texts put together and over a set of words for each text: see
`bench/provenance.py`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator

from policies.matching import placed_words, words

# Characters of a block: as short as most texts, so that a long one is no slower to search than many short.
BLOCK = 1 << 12
# Blocks are numbered within their text in the low bits of a lead.
_BITS = 24
_LOW = (1 << _BITS) - 1
# A block holds the words that begin within so many characters after it too: those of a value whose first word
# begins in the block.
_OVERLAP = 1 << 8
# So many times longer, a list is cheaper to look into than to go through.
_FEW = 16
# What CPython needs for a word that leads somewhere and for each block it leads to; tested against what is
# really taken.
_WORD_OCTETS, _LEAD_OCTETS = 200, 12

Windows = list[tuple[int, int]]


class WordIndex:
    """Texts are numbered as they are added, one thread adding at a time; any thread may look up meanwhile.

    `octets` is about how much memory the words take, the texts themselves not counted.
    """

    def __init__(self) -> None:
        self.octets = 0
        self._leads: dict[str, list[int]] = {}
        self._blocks = 0

    def add(self, number: int, text: str) -> None:
        """Take in a folded text under a number higher than all before it."""
        leads = self._leads
        for block, inside in _in_blocks(text):
            lead = number << _BITS | block
            for word in inside:
                if word in leads:
                    leads[word].append(lead)
                else:
                    leads[word] = [lead]
                    self.octets += _WORD_OCTETS + len(word)
            self.octets += _LEAD_OCTETS * len(inside)
            self._blocks += 1

    def places(self, needle: str) -> Iterator[tuple[int, list[int]]]:
        """The texts that may hold a folded needle, by number, each with the leads that `windows` reads."""
        leads = self._leads_of(needle)
        at, end = 0, len(leads)
        while at < end:
            first, number = at, leads[at] >> _BITS
            at += 1
            while at < end and leads[at] >> _BITS == number:
                at += 1
            yield number, leads[first:at]

    def _leads_of(self, needle: str) -> list[int]:
        placed = list(placed_words(needle))
        if not placed or any(word not in self._leads for _, word in placed):
            return []
        near = {word for at, word in placed if at < placed[0][0] + _OVERLAP}
        found, *others = sorted((self._leads[word] for word in near), key=len)
        for other in others:
            # A word that stands nearly everywhere says nothing about where.
            if 2 * len(other) > self._blocks:
                break
            found = _both(found, other)
        return found


def _in_blocks(text: str) -> Iterator[tuple[int, set[str]]]:
    """The blocks of a text in which a word begins, and the words of each and of what follows it."""
    if len(text) <= BLOCK:
        yield 0, set(words(text))
        return
    placed = list(placed_words(text))
    starts = [at for at, _ in placed]
    for block in range(len(text) // BLOCK + 1):
        first = bisect_left(starts, block * BLOCK)
        if first < len(starts) and starts[first] < (block + 1) * BLOCK:
            beyond = bisect_left(starts, (block + 1) * BLOCK + _OVERLAP)
            yield block, {word for _, word in placed[first:beyond]}


def _both(few: list[int], many: list[int]) -> list[int]:
    """What stands in both of two sorted lists, sorted."""
    if len(many) < _FEW * len(few):
        return sorted(set(few).intersection(many))
    return [one for one in few if many[bisect_left(many, one) % len(many)] == one]


def windows(leads: Iterable[int], length: int) -> Windows:
    """Where a needle of that length may stand that has a word beginning in one of the blocks of a text."""
    joined: Windows = []
    for block in (lead & _LOW for lead in leads):
        start, stop = max(0, block * BLOCK - length + 1), (block + 1) * BLOCK + length - 1
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined
