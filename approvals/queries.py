"""Which actions a person sees."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Q

from approvals.models import Action, ActionQuerySet
from policies.access import Verb, may
from policies.models import Role, User
from traces.problems import Refused


def visible(user: User) -> ActionQuerySet:
    """Actions this person may read: all for an auditor, else those that asked a group of theirs."""
    rows = Action.objects.select_related("session", "agent__team")
    if user.has_role(Role.AUDITOR):
        return rows
    if not user.has_role(Role.APPROVER):
        return rows.none()
    asked = Q(pk__in=[])
    for group in user.answers_for:
        asked |= Q(groups__contains=[group])
    return rows.filter(asked)


def inbox(user: User) -> ActionQuerySet:
    """What waits for people, among the actions this person may read; the most urgent first."""
    return visible(user).pending().order_by("deadline", "id")


def get_visible(user: User, action_id: UUID | str) -> Action:
    """One action this person may read. Raises Refused("not_found") for any other, existing or not."""
    try:
        key = UUID(str(action_id))
    except ValueError:
        raise Refused("not_found", "no such action") from None
    rows = Action.objects.select_related("session", "agent__team").prefetch_related("widenings")
    action = rows.filter(pk=key).first()
    if action is None or not may(user, Verb.ACTION_READ, team=action.team, groups=action.groups).allowed:
        raise Refused("not_found", "no such action")
    return action
