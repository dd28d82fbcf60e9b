"""Taking one's own vote back while the action still waits for others, however long ago it was given."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from approvals import decisions, states
from approvals.decisions import Decision
from approvals.models import Action
from approvals.voting import voidable
from policies.models import User
from traces.problems import Refused


@transaction.atomic
def withdraw(*, action_id: UUID | str, user: User) -> Decision:
    """Take one's own approval of a pending action back; whoever may read the action may do it.

    Locks the action. Appends `vote.undone`. Raises Refused("conflict"): it is decided, or no approval of
    theirs stands.
    """
    action = states.lock(action_id)
    if action.state != Action.State.PENDING:
        raise Refused("conflict", states.already(action), state=action.state, decided_by=action.decided_by)
    return decisions.take_back(action, voidable(action, user, within=None), user=user)
