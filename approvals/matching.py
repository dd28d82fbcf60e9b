"""Which vote counts for which asked group: as many as can be, each for one. Pure: names in, places out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Need:
    """What one asked group needs: `quorum` people, one of them none of `interested` where any are named."""

    quorum: int
    interested: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Ballot:
    """One person's approval: by which names they are known, and the groups that it may count for, the one
    it was put to first.
    """

    names: frozenset[str]
    groups: tuple[str, ...]


def place(ballots: Sequence[Ballot], needs: Mapping[str, Need]) -> tuple[str, ...]:
    """For each ballot, in their order, the group that it counts for; empty where none has room for it.

    A maximum matching of ballots and places (augmenting paths: H. W. Kuhn, "The Hungarian method", 1955,
    for the unweighted case), so how many places are filled does not depend on the order of the ballots, and
    a ballot moves to another group of its voter's where that makes room for somebody who has no other.
    """
    places = [(group, number) for group, need in needs.items() for number in range(need.quorum)]
    taken: dict[tuple[str, int], int] = {}
    for index in range(len(ballots)):
        _seat(index, ballots, needs, places, taken, set())
    seated = {index: group for (group, _), index in taken.items()}
    return tuple(seated.get(index, "") for index in range(len(ballots)))


def _seat(
    index: int,
    ballots: Sequence[Ballot],
    needs: Mapping[str, Need],
    places: Sequence[tuple[str, int]],
    taken: dict[tuple[str, int], int],
    tried: set[tuple[str, int]],
) -> bool:
    """Find a place for this ballot, moving others along where that frees one."""
    ballot = ballots[index]
    for group in ballot.groups:
        for seat in [each for each in places if each[0] == group and _fits(ballot, each, needs)]:
            if seat in tried:
                continue
            tried.add(seat)
            if seat not in taken or _seat(taken[seat], ballots, needs, places, taken, tried):
                taken[seat] = index
                return True
    return False


def _fits(ballot: Ballot, seat: tuple[str, int], needs: Mapping[str, Need]) -> bool:
    # One place is kept for somebody who has no stake in it: that is all that separates the duties.
    group, number = seat
    return number != 0 or not ballot.names & needs[group].interested
