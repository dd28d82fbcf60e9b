"""Which actions a person sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from uuid import UUID

from django.db.models import Count, Q

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


def pending_by_groups() -> dict[frozenset[str], int]:
    """How many actions wait, by the groups that they ask; one query, whoever wants to know."""
    counted = Action.objects.pending().values_list("groups").annotate(n=Count("pk")).order_by()
    found: Counter[frozenset[str]] = Counter()
    for groups, n in counted:
        found[frozenset(groups)] += n
    return dict(found)


def waiting(user: User, counted: Mapping[frozenset[str], int]) -> int:
    """How many of those counted are in this person's inbox."""
    if user.has_role(Role.AUDITOR):
        return sum(counted.values())
    if not user.has_role(Role.APPROVER):
        return 0
    return sum(n for groups, n in counted.items() if groups & user.answers_for)


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
