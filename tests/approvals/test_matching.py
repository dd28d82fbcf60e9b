"""Laws of counting votes: their order says nothing, nobody counts twice, never fewer than are asked."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from approvals.matching import Ballot, Need, place

GROUPS = ("g", "h", "k")
WHO = [f"p{number}" for number in range(6)]
NEEDS = st.dictionaries(
    st.sampled_from(GROUPS),
    st.builds(Need, st.integers(1, 3), st.frozensets(st.sampled_from(WHO), max_size=2)),
    min_size=1,
)
BALLOTS = st.dictionaries(
    st.sampled_from(WHO), st.lists(st.sampled_from(GROUPS), unique=True).map(tuple), max_size=6
).map(lambda found: [Ballot(frozenset({who}), groups) for who, groups in found.items()])


def filled(ballots: list[Ballot], needs: dict[str, Need]) -> int:
    return sum(map(bool, place(ballots, needs)))


def met(ballots: list[Ballot], needs: dict[str, Need]) -> bool:
    return filled(ballots, needs) == sum(need.quorum for need in needs.values())


def most(ballots: list[Ballot], needs: dict[str, Need]) -> int:
    """The same by trying everything: each ballot to each of its groups, or to none."""
    if not ballots:
        return 0
    best = most(ballots[1:], needs)
    for group in ballots[0].groups:
        need = needs.get(group)
        if need is None:
            continue
        # One place taken: a bystander's first, where one is kept for a bystander and is free.
        staked = bool(ballots[0].names & need.interested)
        for rest in _after(needs, group, need, staked):
            best = max(best, 1 + most(ballots[1:], rest))
    return best


def _after(needs: dict[str, Need], group: str, need: Need, staked: bool) -> list[dict[str, Need]]:
    others = {name: each for name, each in needs.items() if name != group}
    free = need.quorum - (1 if need.interested else 0)
    found = []
    if need.interested and not staked:
        left = {group: Need(free)} if free else {}
        found.append(others | left)
    if free:
        found.append(others | {group: Need(need.quorum - 1, need.interested)})
    return found


@given(BALLOTS, NEEDS)
def test_as_many_count_as_can(ballots: list[Ballot], needs: dict[str, Need]) -> None:
    assert filled(ballots, needs) == most(ballots, needs)


@given(BALLOTS.filter(lambda ballots: len(ballots) <= 4), NEEDS)
def test_the_order_of_votes_says_nothing(ballots: list[Ballot], needs: dict[str, Need]) -> None:
    assert len({filled(list(order), needs) for order in permutations(ballots)}) == 1


@given(BALLOTS, NEEDS)
def test_each_counts_for_one_group_of_theirs_and_none_is_overfull(
    ballots: list[Ballot], needs: dict[str, Need]
) -> None:
    places = place(ballots, needs)
    assert all(not group or group in ballot.groups for ballot, group in zip(ballots, places, strict=True))
    assert all(places.count(group) <= need.quorum for group, need in needs.items())


@given(BALLOTS, NEEDS)
def test_never_fewer_people_than_are_asked(ballots: list[Ballot], needs: dict[str, Need]) -> None:
    if met(ballots, needs):
        assert len(ballots) >= sum(need.quorum for need in needs.values())


@given(BALLOTS, NEEDS)
def test_where_a_group_is_served_somebody_without_a_stake_is_among_them(
    ballots: list[Ballot], needs: dict[str, Need]
) -> None:
    if met(ballots, needs):
        seated = list(zip(ballots, place(ballots, needs), strict=True))
        for group, need in needs.items():
            assert any(at == group and not ballot.names & need.interested for ballot, at in seated)


@given(BALLOTS, NEEDS)
def test_one_more_vote_never_takes_anything_away(ballots: list[Ballot], needs: dict[str, Need]) -> None:
    if ballots:
        assert filled(ballots, needs) >= filled(ballots[:-1], needs)
