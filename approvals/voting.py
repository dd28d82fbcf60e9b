"""Counting votes: who voted for which group on this revision, and what is still missing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from approvals.models import Action, Vote
from policies.models import User
from traces.problems import Refused

# How long after signing in a person counts as present.
STEP_UP_LIFE = timedelta(minutes=10)


@dataclass(frozen=True)
class Tally:
    """The standing votes for the current digest. One person counts for one group."""

    votes: tuple[Vote, ...]
    asked: dict[str, int]
    needs_other_than: str

    @property
    def counts(self) -> Counter[str]:
        return Counter(vote.group for vote in self.votes)

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

    def group_for(self, user: User) -> str:
        """The group this person's vote counts for: one that still needs votes, if they are in such a one."""
        counts = self.counts
        mine = [group for group in self.asked if group in user.group_names]
        if not mine:
            raise Refused("forbidden", "you are in none of the groups that are asked")
        return next((group for group in mine if counts[group] < self.asked[group]), mine[0])


def tally(action: Action) -> Tally:
    votes = action.votes.select_related("user").filter(
        void=False, verdict=Vote.Verdict.APPROVE, digest=action.digest, revision=action.revision
    )
    asked = {item["group"]: int(item["quorum"]) for item in action.approvals}
    return Tally(tuple(votes), asked, action.needs_other_than)


def unfit(action: Action) -> str:
    """Why the votes do not carry the action any more: a voter left, was shut out, or lost the role; else
    empty.
    """
    counted = tally(action)
    for vote in counted.votes:
        voter = User.objects.get(pk=vote.user_id)
        if not voter.is_active or not voter.has_role("approver") or vote.group not in voter.group_names:
            return f"{voter.username} may no longer decide for {vote.group}"
    return counted.missing and f"still needed: {counted.missing}"


def refuse_weak_sign_in(action: Action, user: User, *, group: str, channel: str) -> None:
    """Where a rule wants step-up, an approval comes from a page, soon after its voter signed in."""
    if not any(item["step_up"] for item in action.approvals if item["group"] == group):
        return
    if channel != "browser":
        raise Refused(
            "forbidden", "this needs step-up, which a token never satisfies: approve it on its page"
        )
    if user.last_login is None or user.last_login < timezone.now() - STEP_UP_LIFE:
        raise Refused("forbidden", "this needs step-up: sign out, sign in again, and approve it then")


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
