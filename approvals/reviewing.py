"""The action that a reviewer wants to do something about, short of deciding it: theirs, and still open."""

from __future__ import annotations

from uuid import UUID

from django.utils import timezone

from approvals import states
from approvals.models import Action
from policies.access import Verb, may
from policies.models import User
from traces.problems import Refused


def open_for(user: User, action_id: UUID | str) -> Action:
    """The action with its row locked, if this person may decide it and it still waits.

    Raises Refused: not_found (for who may not see it), forbidden (who only reads along), conflict (decided,
    or its time is over).
    """
    action = states.lock(action_id)
    about = {"team": action.team, "groups": action.groups}
    if not may(user, Verb.ACTION_READ, **about).allowed:
        raise Refused("not_found", "no such action")
    access = may(user, Verb.ACTION_DECIDE, **about)
    if not access.allowed:
        raise Refused("forbidden", access.why)
    if action.state != Action.State.PENDING:
        raise Refused("conflict", states.already(action), state=action.state, decided_by=action.decided_by)
    if action.deadline <= timezone.now():
        raise Refused("conflict", "the time to decide is over", state=Action.State.EXPIRED)
    return action
