"""What nobody decides in time is put before another group too, as its rule says, until it expires.

The clock does it. Every process may try at once: under the action's lock one finds the step due, and the
others find it done.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction

from approvals import states, widening
from approvals.models import Action
from approvals.voting import tally
from approvals.widening_models import Widening
from policies import escalating
from policies.escalating import Step
from policies.rules import duration
from traces import dbtime

BATCH = 200
# How soon to look again at a group that had its votes when its step was due, and might lose them.
AGAIN = timedelta(minutes=1)


@dataclass(frozen=True)
class Ahead:
    """A step that is still to come: from which asked group to which, and when."""

    group: str
    to: str
    at: datetime


def ahead(action: Action) -> list[Ahead]:
    """The steps that have not been taken, the earliest first."""
    known = widening.voting_groups(action)
    left = [
        Ahead(group, step.to, since_asked(action) + timedelta(seconds=step.after))
        for group, step in _steps(action)
        if step.to not in known[group]
    ]
    return sorted(left, key=lambda step: (step.at, step.group, step.to))


def since_asked(action: Action) -> datetime:
    """Since when it has been waiting for people, without a break."""
    return action.changed_at


def set_due(action: Action) -> None:
    """Set on an action that begins to wait, or is asked anew, when its first step is due; not saved."""
    left = ahead(action)
    action.escalates_at = left[0].at if left else None


def escalate_due(now: datetime) -> int:
    """Take every step that is due; how many actions another group is asked about now."""
    due = Action.objects.pending().filter(escalates_at__lte=now, deadline__gt=now).order_by("escalates_at")
    return sum(escalate(action_id=key, now=now) for key in due.values_list("pk", flat=True)[:BATCH])


@transaction.atomic
def escalate(*, action_id: UUID, now: datetime | None = None) -> int:
    """Take the steps of one action that are due; how many were taken.

    Locks the action, then its session by the log. Appends `action.escalated` for each. Where it is decided,
    expired or escalated meanwhile nothing happens.
    """
    action, now = states.lock(action_id), now or dbtime.now()
    if action.state != Action.State.PENDING or action.deadline <= now:
        return 0
    taken, again = 0, None
    for step in [step for step in ahead(action) if step.at <= now]:
        if not tally(action).lacking(step.group):
            again = now + AGAIN
            continue
        waited = duration(round((step.at - since_asked(action)).total_seconds()))
        reason = f"nobody of {step.group} decided in {waited}"
        widening.widen(
            action, group=step.group, to=step.to, why=Widening.Why.ESCALATED, actor=states.AGENTSEC,
            body={"reason": reason, "due": step.at.isoformat()},
        )  # fmt: skip
        taken += 1
    later = [step.at for step in ahead(action) if step.at > now] + ([again] if again else [])
    Action.objects.filter(pk=action.pk).update(escalates_at=min(later, default=None))
    return taken


def _steps(action: Action) -> Iterator[tuple[str, Step]]:
    for item in action.approvals:
        for step in escalating.steps(item.get("escalate", ())):
            yield str(item["group"]), step
