"""Counting votes: who voted for which group on this revision, and what is still missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property

from approvals import duties, matching, stepup, word
from approvals.models import Action, Vote
from approvals.widening import voting_groups
from approvals.word_models import USER, Word
from policies.absence_models import Absence, covered_groups, covering
from policies.models import Role, User
from traces import dbtime
from traces.problems import Refused


@dataclass(frozen=True)
class Tally:
    """The standing votes for the current digest. One person counts for one group: `placed` says for which,
    chosen so that as many as possible count, and empty where a vote is one too many. `words` is what the
    person said whom the session serves.
    """

    votes: tuple[Vote, ...]
    needs: Mapping[str, matching.Need]
    editor: str
    counting: Mapping[str, frozenset[str]]
    step_up: frozenset[str]
    absences: Mapping[int, tuple[Absence, ...]] = field(default_factory=dict)
    words: tuple[Word, ...] = ()

    @cached_property
    def placed(self) -> tuple[str, ...]:
        return matching.place([self._ballot(vote) for vote in self.votes], self.needs)

    @property
    def given(self) -> tuple[Vote | Word, ...]:
        """Every approval, whoever's."""
        return (*self.votes, *self.words)

    @property
    def counts(self) -> Counter[str]:
        return Counter([*filter(None, self.placed), *(word.group for word in self.words)])

    @property
    def missing(self) -> str:
        """What is still needed, in words; empty when nothing is."""
        open_ = [self._still(group) for group in self.needs if self.lacking(group)]
        editor = duties.mark(self.editor)
        others = (vote for vote in self.votes if not editor or editor not in self._names(vote))
        others_words = {duties.mark(word.name) for word in self.words} - {editor}
        if not open_ and not others_words and not any(self.open_to(vote) for vote in others):
            open_.append(duties.other_than([self.editor or "nobody"]))
        return ", ".join(open_)

    def lacking(self, group: str) -> int:
        """How many approvals this asked group still needs."""
        return max(0, self.needs[group].quorum - self.counts[group])

    def _still(self, group: str) -> str:
        if group == USER:
            return "the user’s own word"
        still = f"{self.lacking(group)} of {group}"
        staked = {
            vote.user.username for vote in self.votes
            if self._has_stake(vote, group) and group in self.open_to(vote)
        }  # fmt: skip
        free = any(
            place == group and not self._has_stake(vote, group)
            for vote, place in zip(self.votes, self.placed, strict=True)
        )
        return f"{still}, {duties.other_than(staked)}" if staked and not free else still

    def groups_for(self, user: User) -> list[str]:
        """The groups to which this person's vote may be put, the best first; those where it fills a place,
        if there are any. Raises Refused("forbidden") where there is none at all.
        """
        mine = self._asked_of(user.answers_for)
        if not mine:
            raise Refused("forbidden", "you are in none of the groups that are asked")
        filled = sum(map(bool, self.placed))
        needed = [group for group in mine if self._filled_with(user, group) > filled]
        # A vote that satisfied step-up may count for every group, any other only where none is wanted.
        return sorted(needed or mine, key=lambda group: group not in self.step_up)

    def _filled_with(self, user: User, group: str) -> int:
        ballots = [self._ballot(vote) for vote in self.votes]
        ballots.append(self._ballot(Vote(user=user, group=group)))
        return sum(map(bool, matching.place(ballots, self.needs)))

    def _ballot(self, vote: Vote) -> matching.Ballot:
        return matching.Ballot(self._names(vote), self.open_to(vote))

    def _has_stake(self, vote: Vote, group: str) -> bool:
        return bool(self.needs[group].interested & self._names(vote))

    def _names(self, vote: Vote) -> frozenset[str]:
        """By which names its voter is known, and those for whom they stand in: who has a stake in a call
        gets no free hand by being away.
        """
        own = vote.user.group_names
        absent = [row.user for group, rows in self.covered(vote).items() if group not in own for row in rows]
        return duties.marks(vote.user).union(*map(duties.marks, absent))

    def open_to(self, vote: Vote) -> tuple[str, ...]:
        """The groups for which this vote may count as its voter stands now, that of the vote first."""
        voter = vote.user
        if not voter.has_role(Role.APPROVER):
            return ()
        reach = voter.group_names | self.covered(vote).keys()
        mine = self._asked_of(reach)
        strong = vote.group in self.step_up
        fit = [group for group in mine if strong or group not in self.step_up]
        return tuple(sorted(fit, key=lambda group: group != vote.group))

    def _asked_of(self, reach: frozenset[str]) -> list[str]:
        """The asked groups that members of these answer for; no group is whom the session serves."""
        return [group for group, names in self.counting.items() if group != USER and names & reach]

    def covered(self, vote: Vote) -> dict[str, list[Absence]]:
        """The groups that matter here for which its voter stood in when they voted, and by which absences."""
        rows = (row for row in self.absences.get(vote.user_id, ()) if row.covers(vote.at))
        found = vote.user.covers if vote.pk is None else covered_groups(rows)
        matter = frozenset().union(*self.counting.values())
        return {group: absences for group, absences in found.items() if group in matter}

    def leaning(self) -> Iterator[tuple[Vote, Absence]]:
        """Each vote with each absence by which it may count where its voter is no member."""
        for vote in self.votes:
            for group, rows in self.covered(vote).items():
                if group not in vote.user.group_names:
                    yield from ((vote, row) for row in rows)


def tally(action: Action) -> Tally:
    found = (
        action.votes.select_related("user")
        .prefetch_related("user__groups")
        .filter(void=False, verdict=Vote.Verdict.APPROVE, digest=action.digest, revision=action.revision)
    )
    votes = tuple(found)
    for vote in votes:
        vote.user._group_names = frozenset(group.name for group in vote.user.groups.all())
    return Tally(
        votes=votes, absences=_absences(votes), needs=duties.needs(action), editor=action.needs_other_than,
        counting=voting_groups(action), words=word.approvals(action) if word.asks(action) else (),
        step_up=frozenset(item["group"] for item in action.approvals if item["step_up"]),
    )  # fmt: skip


def _absences(votes: Sequence[Vote]) -> dict[int, tuple[Absence, ...]]:
    found: dict[int, tuple[Absence, ...]] = {}
    for row in covering({vote.user_id for vote in votes}) if votes else ():
        if row.stand_in_id is not None and row.user.has_role(Role.APPROVER):
            found[row.stand_in_id] = (*found.get(row.stand_in_id, ()), row)
    return found


def stands_in_for(action: Action, user: User, group: str) -> list[str]:
    """For whom this person votes now, where they are in no group themselves that counts for this one."""
    counting = voting_groups(action)[group]
    if counting & user.group_names:
        return []
    return sorted({row.user.username for name in counting for row in user.covers.get(name, ())})


def void_all(action: Action) -> None:
    """What was said does not count any more; everybody who is asked is asked again."""
    action.votes.filter(void=False).update(void=True)
    action.words.filter(void=False).update(void=True)


def unfit(action: Action) -> str:
    """Why the votes do not carry the action any more: a voter left, was shut out, or lost the role; else
    empty.
    """
    counted = tally(action)
    if why := word.unfit(action, counted.words):
        return why
    for vote in counted.votes if counted.words else ():
        if why := word.double(action, vote.user):
            return f"{vote.user.username} may not vote here: {why}"
    carrying = [vote for vote, place in zip(counted.votes, counted.placed, strict=True) if place]
    if why := stepup.lost(action, carrying):
        return why
    if not counted.missing:
        return ""
    for vote in counted.votes:
        if not counted.open_to(vote):
            return f"{vote.user.username} may no longer decide for {vote.group}"
    return f"still needed: {counted.missing}"


def put_to(action: Action, user: User, *, verdict: str, channel: str, signature: Mapping[str, str]) -> str:
    """The group to which this person's vote goes. Raises Refused("forbidden"): none, or step-up is wanted
    wherever it would count, and there is no `signature`.
    """
    counted = tally(action)
    groups = counted.groups_for(user)
    if verdict != Vote.Verdict.APPROVE:
        return groups[0]
    refusals = []
    for group in groups:
        try:
            if group in counted.step_up and not signature:
                stepup.refuse_unsigned(user, channel=channel)
        except Refused as refused:
            refusals.append(refused)
        else:
            return group
    raise refusals[0]


def voidable(action: Action, user: User, *, within: timedelta | None) -> Vote:
    """This person's standing approval if it may still be taken back; with None however old it is. Raises
    Refused("conflict").
    """
    vote = action.votes.filter(user=user, void=False, verdict=Vote.Verdict.APPROVE).first()
    if vote is None:
        raise Refused("conflict", "there is no approval of yours to take back")
    too_late = within is not None and dbtime.now() > vote.at + within
    if too_late or action.state not in (Action.State.PENDING, Action.State.READY):
        raise Refused(
            "conflict", "too late to undo: " + ("the time is over" if too_late else f"it is {action.state}")
        )
    return vote
