"""Whether there still is something to tell, and to whom: asked when a message is made, and not before."""

from __future__ import annotations

from datetime import datetime

from approvals import word
from approvals.models import Action
from approvals.notice_models import NoticeKind, Outlet
from policies.access import Verb, may

K = NoticeKind


def over(action: Action, kind: str, *, now: datetime) -> str:
    """Why nobody needs to be told any more; empty while somebody does."""
    waits = action.state == Action.State.PENDING
    if kind == K.DECIDED:
        return "it waits for a decision again" if waits else ""
    if not waits:
        return "it was decided meanwhile"
    return "" if action.deadline > now else "its time was over"


def may_hear(outlet: Outlet, action: Action, kind: str) -> bool:
    """Whether what stands in this action may go there now: as the page would answer this person.

    A group's channel hears what its group is asked. Whoever a session serves hears that their own word is
    wanted, whatever their groups.
    """
    if outlet.group is not None:
        return outlet.group.name in action.groups
    if outlet.user is None or not outlet.user.is_active:
        return False
    if kind == K.USER_WORD and word.is_served(outlet.user, action.session):
        return True
    return may(outlet.user, Verb.ACTION_READ, team=action.team, groups=action.groups).allowed
