"""Whose answer an action still waits for, as its card says it: who else is asked, when, and what is amiss."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from approvals import duties, escalation
from approvals.models import Action
from approvals.voting import Tally, tally
from approvals.widening import voting_groups
from approvals.widening_models import Widening
from policies import approvers
from policies.absence_models import Absence
from policies.models import User
from policies.rules import duration


@dataclass(frozen=True)
class Passed:
    """Another group that answers too: since when and why."""

    group: str
    to: str
    at: datetime
    why: str


@dataclass(frozen=True)
class Instead:
    """Somebody who answers, or has answered, for somebody who is away."""

    who: str
    absent: str
    group: str
    until: datetime
    voted: bool


@dataclass(frozen=True)
class WhoElse:
    """What the card says below the votes."""

    passed: tuple[Passed, ...]
    ahead: tuple[escalation.Ahead, ...]
    instead: tuple[Instead, ...]
    notes: tuple[str, ...]
    alone: str
    amiss: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        return not any((self.passed, self.ahead, self.instead, self.notes, self.alone, self.amiss))

    def to_json(self) -> dict[str, Any]:
        """The same for reviewers' programs."""
        return {
            "escalated": [_plain(each) for each in self.passed],
            "escalates": [_plain(each) for each in self.ahead],
            "stand_ins": [_plain(each) for each in self.instead],
            "notes": list(self.notes), "not_alone": self.alone, "amiss": list(self.amiss),
        }  # fmt: skip


NOTHING = WhoElse((), (), (), (), "", ())


def _plain(each: Passed | escalation.Ahead | Instead) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asdict(each).items()
    }


def of(action: Action, user: User | None) -> WhoElse:
    """What there is to say of one action to this person; nothing of one that never asked anybody."""
    if not action.approvals:
        return NOTHING
    waits = action.state == Action.State.PENDING
    counted = tally(action)
    return WhoElse(
        passed=_passed(action),
        ahead=tuple(escalation.ahead(action)) if waits else (),
        instead=_instead(action, counted, user if waits else None),
        notes=tuple(duties.notes(action)) if waits else (),
        alone=duties.why(action, user) if waits and user is not None else "",
        amiss=_amiss(action, counted) if waits else (),
    )


def _passed(action: Action) -> tuple[Passed, ...]:
    after = {
        (item["group"], step["to"]): step["after"] for item in action.approvals
        for step in item.get("escalate", ())
    }  # fmt: skip
    found = []
    for row in action.widenings.all():
        if row.why == Widening.Why.ESCALATED and (row.group, row.by_group) in after:
            why = f"nobody of {row.group} decided in {duration(after[row.group, row.by_group])}"
            found.append(Passed(row.group, row.by_group, row.at, why))
    return tuple(found)


def _instead(action: Action, counted: Tally, user: User | None) -> tuple[Instead, ...]:
    found = [
        Instead(vote.user.username, row.user.username, group, row.until, True)
        for vote, row in counted.leaning()
        for group in _for(action, row)
        if group in counted.open_to(vote) and not voting_groups(action)[group] & vote.user.group_names
    ]
    voted = {each.who for each in found}
    if user is None or user.username in voted:
        return tuple(dict.fromkeys(found))
    for group, names in voting_groups(action).items():
        if names & user.group_names:
            continue
        rows = {row.pk: row for name in sorted(names) for row in user.covers.get(name, ())}
        found += [Instead("you", row.user.username, group, row.until, False) for row in rows.values()]
    return tuple(dict.fromkeys(found))


def _for(action: Action, row: Absence) -> list[str]:
    theirs = {group.name for group in row.user.groups.all()}
    return [group for group, names in voting_groups(action).items() if names & theirs]


def _amiss(action: Action, counted: Tally) -> tuple[str, ...]:
    """Groups that cannot give what is still needed of them."""
    groups = voting_groups(action)
    lacking = [group for group in counted.needs if counted.lacking(group) and not group.startswith("@")]
    if not lacking:
        return ()
    reaches = approvers.read({name for group in lacking for name in groups[group]})
    found = []
    for group in lacking:
        reach = approvers.NOBODY
        for name in groups[group]:
            reach |= reaches[name]
        found.append(approvers.shortfall(group, counted.needs[group].quorum, reach))
    return tuple(why for why in found if why)


def moved(action: Action) -> list[str]:
    """Votes that count for another group than the one they were put to, one sentence each."""
    counted = tally(action)
    return [
        f"{vote.user.username}'s vote counts for {place}, where it is needed more."
        for vote, place in zip(counted.votes, counted.placed, strict=True)
        if place and place != vote.group
    ]
