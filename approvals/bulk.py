"""Deciding many alike at once: the same tool, asked about by the same rules, each for what was seen of it.

Each action is decided in a transaction of its own, by the same verbs and checks as one alone, so what becomes
of one touches no other. What deserves a look of its own is never approved in a heap: destructive calls, high
risk, sessions that have read an injection, and what wants step-up. Rejecting it so is allowed.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from uuid import UUID, uuid4

from django.db import DatabaseError, transaction

from approvals import (
    alike,
    claims,
    decisions,
    presenters,
    queries,
    rejecting,
    reviewing,
    states,
    vigilance,
)
from approvals.attention import UNKNOWN, Attention
from approvals.attention_models import Look
from approvals.decisions import Decision
from approvals.models import Action, Vote
from approvals.presenters import Risk
from policies.models import User
from traces.problems import Refused

MOST = 50
VERDICTS = ("approve", "reject")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Item:
    """One action, and the digest of what was seen of it."""

    action: UUID
    digest: str


@dataclass(frozen=True)
class Outcome:
    """What came of one: approved, counted, rejected, undone, or refused with a code and the reason."""

    action: UUID
    effect: str
    message: str
    code: str = ""

    @property
    def done(self) -> bool:
        return self.effect != "refused"


@dataclass(frozen=True)
class Done:
    """What came of all, in the order they were given in; `bulk` is what their votes share in the log."""

    bulk: UUID
    outcomes: tuple[Outcome, ...]

    @property
    def count(self) -> int:
        return sum(outcome.done for outcome in self.outcomes)

    @property
    def refused(self) -> tuple[Outcome, ...]:
        return tuple(outcome for outcome in self.outcomes if not outcome.done)

    @property
    def undoable(self) -> int:
        return sum(outcome.effect in ("approved", "counted") for outcome in self.outcomes)

    @property
    def sentence(self) -> str:
        """For a toast: how many of how many."""
        words = Counter(outcome.effect for outcome in self.outcomes if outcome.done)
        told = {"counted": "voted for, more votes are needed", "undone": "taken back"}
        parts = [f"{count} {told.get(effect, effect)}" for effect, count in words.items()]
        if self.refused:
            parts.append(f"{len(self.refused)} not")
        return f"{', '.join(parts) or 'Nothing was done'}."


def sameness(action: Action) -> str:
    """What actions share that may be decided together: the tool and the question that its rules asked."""
    return sha256(f"{action.tool}\n{action.approvals_json}".encode()).hexdigest()[:16]


def barred(action: Action, risk: Risk | None = None) -> str:
    """Why this one is approved only by itself; empty where it may be approved with others.

    `risk` where the caller knows it already.
    """
    if action.effect == "destructive":
        return "it is destructive: approve it by itself, by typing its target"
    if any(item["step_up"] for item in action.approvals):
        return "it needs step-up: approve it by itself"
    risk = risk or presenters.risk(action)
    return f"its risk is high ({risk.why}): approve it by itself" if risk.word == "High" else ""


def taken(action: Action, user: User) -> str:
    """Whose claim a page does not pass over in a heap; empty where nobody else has claimed it."""
    claim = claims.others(action, user)
    return f"{claim.sentence}: decide it by itself" if claim is not None else ""


def decide_many(
    *,
    user: User,
    verdict: str,
    items: Sequence[Item],
    comment: str = "",
    channel: str = "browser",
    attention: Attention = UNKNOWN,
) -> Done:
    """Vote alike on up to 50 actions that are alike; one that is refused touches no other.

    Each is decided in a transaction of its own, which locks that action, then its session, and appends what
    `decisions.approve` or `reject` append; the entries of the votes share the id `bulk`. Before anything is
    decided it raises Refused: invalid (none, too many, one twice, another verdict; not alike: `odd`).
    """
    _refuse_shape(verdict, items)
    comment = rejecting.comment(comment) if verdict == "reject" else reviewing.comment(comment)
    bulk = attention.bulk or uuid4()
    same, seen = _common(user, items)
    look = Attention(seen_ms=attention.seen_ms, bulk=bulk)
    decide = partial(
        _decide, user=user, verdict=verdict, comment=comment, channel=channel, look=look,
        same=same,
    )  # fmt: skip
    return Done(
        bulk,
        tuple(
            _one(item.action, partial(decide, item)) if item.action in seen else _unknown(item.action)
            for item in items
        ),
    )


def refuse_verdict(verdict: str) -> None:
    """Raise Refused("invalid") for anything but approve or reject."""
    if verdict not in VERDICTS:
        raise Refused("invalid", "approve or reject?")


def undo_many(*, bulk: UUID, user: User) -> Done:
    """Take back one's approvals of one heap, each within five seconds of its vote and before it has started.

    Each in a transaction of its own, as `decisions.undo`. Raises Refused("conflict") where there is none.
    """
    looks = Look.objects.filter(bulk=bulk, vote__user=user, vote__void=False)
    votes = looks.filter(vote__verdict=Vote.Verdict.APPROVE).order_by("vote__at", "vote_id")
    keys = list(votes.values_list("vote__action_id", flat=True))
    if not keys:
        raise Refused("conflict", "there are no approvals of yours to take back")
    undo = partial(decisions.undo, user=user)
    return Done(bulk, tuple(_one(key, partial(undo, action_id=key)) for key in keys))


def _decide(
    item: Item, *, user: User, verdict: str, comment: str, channel: str, look: Attention, same: str
) -> Decision:
    """One of them, in the transaction that the caller opened."""
    action = states.lock(item.action)
    if sameness(action) != same:
        raise Refused("conflict", "it asks for something else by now: look again, then decide")
    if channel == "browser" and (why := taken(action, user)):
        raise Refused("conflict", why)
    seen = vigilance.on(look, action)
    if verdict == "reject":
        return decisions.reject(
            action_id=item.action, user=user, digest=item.digest, comment=comment, channel=channel,
            attention=seen,
        )  # fmt: skip
    if why := barred(action):
        raise Refused("forbidden", why)
    return decisions.approve(
        action_id=item.action, user=user, digest=item.digest, comment=comment, channel=channel, attention=seen
    )


def _one(action_id: UUID, act: Callable[[], Decision]) -> Outcome:
    try:
        with transaction.atomic():
            decision = act()
    except Refused as refused:
        return Outcome(action_id, "refused", refused.detail, refused.code)
    except DatabaseError:
        logger.exception("one of many: %s", action_id)
        return Outcome(action_id, "refused", "the database did not take it; look again", "unavailable")
    return Outcome(action_id, decision.effect, decision.message)


def _refuse_shape(verdict: str, items: Sequence[Item]) -> None:
    refuse_verdict(verdict)
    if not 1 <= len(items) <= MOST:
        raise Refused("invalid", f"1 to {MOST} actions at once, not {len(items)}")
    if len({item.action for item in items}) < len(items):
        raise Refused("invalid", "an action is named twice")


def _unknown(action_id: UUID) -> Outcome:
    return Outcome(action_id, "refused", "no such action", "not_found")


def _common(user: User, items: Sequence[Item]) -> tuple[str, frozenset[UUID]]:
    """What all share that this person may see, and which those are; the others are refused one by one.

    Raises Refused("invalid") where they are not alike, naming those that are unlike most.
    """
    seen = {row.pk: row for row in queries.visible(user).filter(pk__in=[item.action for item in items])}
    rows = [seen[item.action] for item in items if item.action in seen]
    if not rows:
        return "", frozenset()
    [(same, _)] = Counter(map(sameness, rows)).most_common(1)
    odd = [row for row in rows if sameness(row) != same]
    if odd:
        like = next(row for row in rows if sameness(row) == same)
        raise Refused(
            "invalid", f"{_named(odd[0])} is not like the others ({_named(like)}): decide it by itself",
            odd=[str(row.pk) for row in odd],
        )  # fmt: skip
    return same, frozenset(seen)


def _named(action: Action) -> str:
    rules = ", ".join(alike.rules_of(action.approvals_json)) or "no rule"
    return f"{action.tool} {str(action.pk)[:8]}, asked by {rules}"
