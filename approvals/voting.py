"""Counting votes: who voted for which group on this revision, and what is still missing."""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from django.utils import timezone

from approvals import matching, stepup
from approvals.models import Action, Vote
from approvals.widening import voting_groups
from policies.models import Role, User
from traces.problems import Refused


@dataclass(frozen=True)
class Tally:
    """The standing votes for the current digest. One person counts for one group: `placed` says for which,
    chosen so that as many as possible count, and empty where a vote is one too many.
    """

    votes: tuple[Vote, ...]
    asked: dict[str, int]
    needs_other_than: str
    counting: Mapping[str, frozenset[str]]
    step_up: frozenset[str]

    @cached_property
    def placed(self) -> tuple[str, ...]:
        return matching.place([self._ballot(vote) for vote in self.votes], self._needs)

    @property
    def counts(self) -> Counter[str]:
        return Counter(group for group in self.placed if group)

    @property
    def missing(self) -> str:
        """What is still needed, in words; empty when nothing is."""
        counts = self.counts
        open_ = [
            f"{need - counts[group]} of {group}" for group, need in self.asked.items() if counts[group] < need
        ]
        if not open_ and not any(vote.user.username != self.needs_other_than for vote in self.votes):
            open_.append(f"somebody other than {self.needs_other_than or 'nobody'}")
        return ", ".join(open_)

    def groups_for(self, user: User) -> list[str]:
        """The groups to which this person's vote may be put, the best first; those where it fills a place,
        if there are any. Raises Refused("forbidden") where there is none at all.
        """
        mine = [group for group, names in self.counting.items() if names & user.group_names]
        if not mine:
            raise Refused("forbidden", "you are in none of the groups that are asked")
        filled = sum(self.counts.values())
        needed = [group for group in mine if self._filled_with(user, group) > filled]
        # A vote that satisfied step-up may count for every group, any other only where none is wanted.
        return sorted(needed or mine, key=lambda group: group not in self.step_up)

    def _filled_with(self, user: User, group: str) -> int:
        ballots = [self._ballot(vote) for vote in self.votes]
        ballots.append(self._ballot(Vote(user=user, group=group)))
        return sum(map(bool, matching.place(ballots, self._needs)))

    @property
    def _needs(self) -> dict[str, matching.Need]:
        return {group: matching.Need(quorum) for group, quorum in self.asked.items()}

    def _ballot(self, vote: Vote) -> matching.Ballot:
        return matching.Ballot(vote.user.username, self.open_to(vote))

    def open_to(self, vote: Vote) -> tuple[str, ...]:
        """The groups for which this vote may count as its voter stands now, that of the vote first."""
        voter = vote.user
        if not voter.has_role(Role.APPROVER):
            return ()
        mine = [group for group, names in self.counting.items() if names & voter.group_names]
        strong = vote.group in self.step_up
        fit = [group for group in mine if strong or group not in self.step_up]
        return tuple(sorted(fit, key=lambda group: group != vote.group))


def tally(action: Action) -> Tally:
    votes = action.votes.select_related("user").filter(
        void=False, verdict=Vote.Verdict.APPROVE, digest=action.digest, revision=action.revision
    )
    asked = {item["group"]: int(item["quorum"]) for item in action.approvals}
    return Tally(
        votes=tuple(votes), asked=asked, needs_other_than=action.needs_other_than,
        counting=voting_groups(action),
        step_up=frozenset(item["group"] for item in action.approvals if item["step_up"]),
    )  # fmt: skip


def unfit(action: Action) -> str:
    """Why the votes do not carry the action any more: a voter left, was shut out, or lost the role; else
    empty.
    """
    counted = tally(action)
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


def refuse_confirm(action: Action, confirm: str) -> None:
    """A destructive action is approved only by whoever types the name of its target."""
    if action.effect != "destructive":
        return
    if not hmac.compare_digest(confirm.strip().encode(), action.target.strip().encode()):
        raise Refused(
            "invalid", f"this is destructive: confirm it by typing “{action.target}”", confirm=action.target
        )


def voidable(action: Action, user: User, *, within: timedelta) -> Vote:
    """This person's standing approval if it may still be taken back. Raises Refused("conflict")."""
    vote = action.votes.filter(user=user, void=False, verdict=Vote.Verdict.APPROVE).first()
    if vote is None:
        raise Refused("conflict", "there is no approval of yours to take back")
    too_late = timezone.now() > vote.at + within
    if too_late or action.state not in (Action.State.PENDING, Action.State.READY):
        raise Refused(
            "conflict", "too late to undo: " + ("the time is over" if too_late else f"it is {action.state}")
        )
    return vote
