"""Handing a question on: members of another group may answer for one's own, for one action.

Nobody is taken away and no quorum shrinks; it adds people, with a reason, and everything else that holds for
votes holds for theirs (see `widening`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Count, Q

from approvals import widening
from approvals.models import Action
from approvals.reviewing import open_for, worded
from policies.access import actor
from policies.models import Role, User
from traces.models import Entry
from traces.problems import Refused

MOST = 5
LONGEST_REASON = 2_000


@dataclass(frozen=True)
class Delegated:
    """A question that was handed on, as the card tells it."""

    group: str
    to: str
    by: str
    at: datetime
    reason: str


@transaction.atomic
def delegate(*, action_id: UUID | str, user: User, group: str, to: str, reason: str) -> Action:
    """Let members of `to` answer for `group` too. The deadline, the quorum and the other checks stay.

    `group` is one that is asked and that this person is in: what was handed on to them they do not hand on
    further. Locks the action, then its session. Appends `action.delegated`. Raises Refused: not_found,
    forbidden, conflict (decided, voted before, `to` answers for it already, too often), invalid (groups,
    nobody in `to` who could decide, no reason).
    """
    said = worded(reason, longest=LONGEST_REASON, empty="say why you hand it on", field="reason")
    action = open_for(user, action_id)
    if action.votes.filter(user=user, void=False).exists():
        raise Refused("conflict", "you have voted on this already: it is not yours to hand on")
    if group not in own_groups(action, user):
        raise Refused("invalid", f"you are not in {group}, or it is not asked", field="group")
    if action.widenings.filter(why=widening.Why.DELEGATED).count() >= MOST:
        raise Refused("conflict", f"this was handed on {MOST} times already")
    if not _people(user).filter(name=to).exists():
        raise Refused("invalid", f"nobody else in {to or 'no group'} could decide it", field="to")
    widening.widen(
        action, group=group, to=to, why=widening.Why.DELEGATED, actor=actor(user),
        body={"by": user.username, "reason": said},
    )  # fmt: skip
    return action


def own_groups(action: Action, user: User) -> list[str]:
    """The groups asked that this person is in."""
    return [item["group"] for item in action.approvals if item["group"] in user.group_names]


def targets(action: Action, user: User) -> list[tuple[str, int]]:
    """Groups that could answer too, and how many people of each could decide, without this person; sorted."""
    mine = own_groups(action, user)
    if not mine:
        return []
    counting = widening.voting_groups(action)
    all_have = frozenset.intersection(*(counting[group] for group in mine))
    rows = _people(user).exclude(name__in=all_have).order_by("name").values_list("name", "able")
    return [(str(name), int(able)) for name, able in rows]


def told(action: Action) -> list[Delegated]:
    """What was handed on, the first first; by whom and why stands in the log."""
    rows = [row for row in action.widenings.all() if row.why == widening.Why.DELEGATED]
    if not rows:
        return []
    found = Entry.objects.filter(uuid__in=[row.entry for row in rows]).select_related("span")
    entries = {entry.uuid: entry for entry in found}
    ids = {entry.actor.removeprefix("user:") for entry in entries.values()}
    names = {
        f"user:{key}": name
        for key, name in User.objects.filter(pk__in=[key for key in ids if key.isdecimal()]).values_list(
            "pk", "username"
        )
    }
    known = [(row, entries[row.entry]) for row in rows if row.entry in entries]
    return [
        Delegated(row.group, row.by_group, names.get(entry.actor, entry.actor), row.at, _said(entry))
        for row, entry in known
    ]


def _people(user: User) -> Any:
    """Groups in which somebody other than this person could decide, with `able`, how many."""
    fit = Q(user__is_active=True, user__roles__contains=[Role.APPROVER]) & ~Q(user__pk=user.pk)
    return Group.objects.annotate(able=Count("user", filter=fit)).filter(able__gt=0)


def _said(entry: Entry) -> str:
    span = getattr(entry, "span", None)
    return span.text if span else ""
