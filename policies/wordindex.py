"""Texts by their words, so that a value is looked up and not searched for. Pure.

Each text is cut into blocks, and every word leads to the blocks in which it begins. A value can stand only
where all its words do, so most look-ups are a few steps in a dictionary; what is left to search are some
blocks. Chosen by measurement over one scan of all texts put together and over a set of words for each text:
see `bench/provenance.py`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from policies.matching import placed_words, words

# Characters of a block: as short as most texts, so that a long one is no slower to search than many short.
BLOCK = 1 << 12
# Blocks are numbered within their text in the low bits of a lead.
_BITS = 24
_LOW = (1 << _BITS) - 1
# So many of a value's rarest words decide which blocks are searched; more would cost more than they spare.
_TELLING = 6
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

    def add(self, number: int, text: str) -> None:
        """Take in a folded text under a number higher than all before it."""
        leads = self._leads
        for block, inside in _blocks(text):
            lead = number << _BITS | block
            for word in inside:
                if word in leads:
                    leads[word].append(lead)
                else:
                    leads[word] = [lead]
                    self.octets += _WORD_OCTETS + len(word)
            self.octets += _LEAD_OCTETS * len(inside)

    def places(self, needle: str) -> Iterator[tuple[int, Windows]]:
        """The texts that may hold a folded needle, by number, and where in them to search for it."""
        for number, found in groupby(self._blocks_of(needle), lambda lead: lead >> _BITS):
            yield number, _windows((lead & _LOW for lead in found), len(needle))

    def _blocks_of(self, needle: str) -> Sequence[int]:
        known = []
        for word in set(words(needle)):
            found = self._leads.get(word)
            if found is None:
                return ()
            known.append(found)
        if not known:
            return ()
        known.sort(key=len)
        rarest, others, reach = known[0], known[1:_TELLING], len(needle) // BLOCK + 1
        return [lead for lead in rarest if all(_near(lead, found, reach) for found in others)]


def _blocks(text: str) -> Iterator[tuple[int, set[str]]]:
    """The blocks of a text, and the words that begin in each."""
    if len(text) <= BLOCK:
        yield 0, set(words(text))
        return
    for block, found in groupby(placed_words(text), lambda word: word[0] // BLOCK):
        yield block, {word for _, word in found}


def _near(lead: int, others: Sequence[int], reach: int) -> bool:
    """Whether one of the sorted leads is at most `reach` blocks away."""
    at = bisect_left(others, lead - reach)
    return at < len(others) and others[at] <= lead + reach


def _windows(blocks: Iterable[int], length: int) -> Windows:
    """Where a needle of that length may stand that has a word beginning in one of the blocks."""
    joined: Windows = []
    for block in blocks:
        start, stop = max(0, block * BLOCK - length + 1), (block + 1) * BLOCK + length - 1
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined
