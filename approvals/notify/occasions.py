"""What there is to tell: written with what happened, told a moment later."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.utils import timezone

from approvals.models import Action
from approvals.notice_models import NoticeKind, Occasion
from policies.models import User

# Whoever decides at once spares everybody else a message.
DELAY = timedelta(seconds=15)
EXPIRING_SHARE = 0.2
# Of what is waited for shorter than this, a second message would follow on the heels of the first.
SHORTEST = timedelta(minutes=3)


def about(
    action: Action,
    *,
    kind: str,
    groups: Iterable[str] = (),
    users: Iterable[User] = (),
    now: datetime | None = None,
) -> None:
    """Let members of these groups, or these people, be told of an action. Ids only; nothing is sent here.

    One INSERT in the caller's transaction, so that it is told if and only if it happened. Being asked also
    plans to say when it is about to expire, for those who want that.
    """
    now = now or timezone.now()
    told = {"action": action, "groups": sorted(groups), "users": [user.pk for user in users]}
    rows = [Occasion(kind=NoticeKind(kind), due_at=now + DELAY, **told)]
    if kind == NoticeKind.ASKED and action.deadline - now >= SHORTEST:
        rows.append(Occasion(kind=NoticeKind.EXPIRING, due_at=expiring_at(action, since=now), **told))
    Occasion.objects.bulk_create(rows)


def expiring_at(action: Action, *, since: datetime) -> datetime:
    """When a fifth of the time from `since` to its deadline is left."""
    return action.deadline - (action.deadline - since) * EXPIRING_SHARE
