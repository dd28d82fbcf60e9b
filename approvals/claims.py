"""“I take this”: who says that they decide an action, so that two people do not read the same card.

A claim is advice and never a lock. It ends when its person decides or lets go, when nobody has had the card
open for a while, and with the action's waiting.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from approvals import states
from approvals.models import Action
from approvals.reviewing import open_for
from policies.access import actor
from policies.models import User
from traces import dbtime, record
from traces.problems import Refused

BATCH = 200
_FREE = {"claimed_by": "", "claimed_at": None, "claimed_until": None}


@dataclass(frozen=True)
class Claim:
    """Who has taken an action, since when, and until when if they no longer look at it."""

    by: str
    at: datetime
    until: datetime

    @property
    def sentence(self) -> str:
        """“mina has claimed this 2 min ago”."""
        minutes = int((dbtime.now() - self.at).total_seconds() // 60)
        return f"{self.by} has claimed this {f'{minutes} min ago' if minutes else 'just now'}"

    def to_json(self) -> dict[str, str]:
        return {"by": self.by, "at": self.at.isoformat(), "until": self.until.isoformat()}


def of(action: Action) -> Claim | None:
    """The claim that stands on an action; None where there is none, its time is over, or nothing is asked."""
    if action.state != Action.State.PENDING or not action.claimed_by:
        return None
    if action.claimed_at is None or action.claimed_until is None or action.claimed_until <= dbtime.now():
        return None
    return Claim(action.claimed_by, action.claimed_at, action.claimed_until)


def others(action: Action, user: User) -> Claim | None:
    """The claim of somebody else on this action."""
    claim = of(action)
    return claim if claim is not None and claim.by != user.username else None


@transaction.atomic
def claim(*, action_id: UUID | str, user: User, over: str = "") -> Action:
    """Take an action for as long as one looks at it, and some minutes more. `over` names whose claim is
    taken over, as whoever confirmed that saw it. Claiming what is one's own already renews it.

    Locks the action, then its session. Appends `action.claimed`. Raises Refused: not_found, forbidden,
    conflict (decided; or somebody else's claim, with `claim` as it stands).
    """
    action = open_for(user, action_id)
    standing = others(action, user)
    if standing is not None and standing.by != over:
        raise Refused("conflict", f"{standing.sentence}: take it over?", claim=standing.to_json())
    mine = of(action) is not None and standing is None
    now = dbtime.now()
    _set(
        action, claimed_by=user.username, claimed_until=now + _life(), **({} if mine else {"claimed_at": now})
    )
    if not mine:
        _log(
            action,
            "claimed",
            user=user,
            until=str(action.claimed_until),
            over=standing.by if standing else "",
        )
    return action


@transaction.atomic
def release(*, action_id: UUID | str, user: User) -> Action:
    """Let go of one's claim. Where there is none any more, that is no error.

    Locks the action, then its session. Appends `action.released`. Raises Refused: not_found, forbidden,
    conflict (decided, or somebody else's claim).
    """
    action = open_for(user, action_id)
    standing = of(action)
    if standing is not None and standing.by != user.username:
        raise Refused("conflict", f"this is not your claim: {standing.sentence}", claim=standing.to_json())
    if standing is not None:
        _set(action, **_FREE)
        _log(action, "released", user=user, why="let go")
    return action


def renew(*, action_id: UUID | str, user: User) -> None:
    """Keep one's claim while its card is open; nothing else is changed, told or logged."""
    now = dbtime.now()
    mine = Action.objects.pending().filter(pk=action_id, claimed_by=user.username, claimed_until__gt=now)
    mine.update(claimed_until=now + _life())


def settle(action: Action, *, user: User) -> None:
    """This person has decided, so their claim is done; the caller holds the action's lock and tells pages.

    Appends `action.released` where there was one.
    """
    if action.claimed_by == user.username:
        _set(action, **_FREE)
        _log(action, "released", user=user, why="decided", tell=False)


def refuse(action: Action, *, user: User, despite: str) -> None:
    """Raise Refused("conflict") where somebody else has claimed this and the voter has not confirmed that
    they decide `despite` that person's claim.
    """
    claim = others(action, user)
    if claim is not None and claim.by != despite:
        raise Refused("conflict", f"{claim.sentence}. Decide again to do so anyway", claim=claim.to_json())


def end_due(now: datetime) -> int:
    """Claims whose time is over, and those on what no longer waits; how many. Appends `action.released`."""
    over = Q(claimed_until__lte=now) | ~Q(state=Action.State.PENDING)
    found = Action.objects.filter(over, claimed_until__isnull=False).values_list("pk", flat=True)
    return sum(_end(action_id, now) for action_id in list(found[:BATCH]))


@transaction.atomic
def _end(action_id: UUID, now: datetime) -> bool:
    action = states.lock(action_id)
    waits = action.state == Action.State.PENDING
    if action.claimed_until is None or (waits and action.claimed_until > now):
        return False
    why = "nobody looked at it any more" if waits else f"it is {action.state}"
    _log(action, "released", who=states.AGENTSEC, why=why, tell=waits)
    _set(action, **_FREE)
    return True


def _life() -> timedelta:
    return timedelta(minutes=settings.AGENTSEC_CLAIM_MINUTES)


def _set(action: Action, **fields: object) -> None:
    for name, value in fields.items():
        setattr(action, name, value)
    action.save(update_fields=[*fields])


def _log(
    action: Action, what: str, *, user: User | None = None, who: str = "", tell: bool = True, **body: str
) -> None:
    by = user.username if user is not None else action.claimed_by
    record.append(
        kind=f"action.{what}", actor=actor(user) if user is not None else who, session=action.session,
        action=str(action.pk), body={"by": by, **body}, title=f"{action.tool}: {what} by {by}",
    )  # fmt: skip
    if tell:
        states.announce(action)
