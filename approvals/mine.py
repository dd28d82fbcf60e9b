"""What the person whom a session serves is asked, and what became of what they were asked before.

They see what the agent wants to do on their behalf and nothing else: no trace, no reviewer, no other person.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Exists, F, OuterRef
from django.utils import timezone

from approvals import drawing, typed, word
from approvals.confirming import Speaker
from approvals.models import Action, ActionQuerySet
from approvals.origins import authorities
from approvals.word_models import USER, Word
from policies.models import Agent

S = Action.State
MOST = 50
SENTENCES = {
    "user": "you wrote it",
    "named": "you named it; it stands beside your words in the output of a trusted tool",
    "trusted": "from the output of a tool that is trusted",
    "reviewer": "a reviewer wrote it",
    "agent": "the agent’s own choice: it stands nowhere in what you wrote",
    "untrusted": "only from content that outsiders may have written",
}
FATES = {
    S.READY: "about to start", S.RUNNING: "running", S.SUCCEEDED: "done", S.FAILED: "failed",
    S.INTERRUPTED: "interrupted", S.REJECTED: "rejected", S.CANCELLED: "cancelled",
    S.EXPIRED: "expired: not everybody answered in time", S.PENDING: "waits for others",
}  # fmt: skip


@dataclass(frozen=True)
class Came:
    """Values of one argument and where they came from; `line` is quoted only from the user's own words."""

    name: str
    sentence: str
    values: tuple[str, ...]
    line: str
    span: tuple[Mapping[str, Any], ...]
    foreign: bool


@dataclass(frozen=True)
class Ask:
    """One thing that waits for the user's word."""

    action: Action
    payload: drawing.Drawn
    came: tuple[Came, ...]

    @property
    def destructive(self) -> bool:
        return self.action.effect == "destructive"


@dataclass(frozen=True)
class Past:
    """One thing that was asked before: what the user said, what became of it, until when they may undo."""

    action: Action
    said: str
    fate: str
    undo_until: datetime | None


@dataclass(frozen=True)
class View:
    """The page of one person. `waiting` also counts what waits beyond `asks`, and `older` says that there was
    more before than `past`. `mark` changes whenever anything on it does.
    """

    asks: tuple[Ask, ...]
    past: tuple[Past, ...]
    waiting: int
    older: bool
    mark: str

    @property
    def more(self) -> int:
        return self.waiting - len(self.asks)


def asked(speaker: Speaker) -> ActionQuerySet:
    """What waits for this person's word, the most urgent first."""
    return _waiting(_of(speaker))


def of_agent(agent: Agent, *, session: UUID | None = None, user: str = "") -> ActionQuerySet:
    """What waits for the word of this agent's users, or of one session's, or of one user."""
    rows = _attested().filter(agent=agent)
    rows = rows.filter(session=session) if session else rows
    return _waiting(rows.filter(session__user=user) if user else rows)


def _waiting(rows: ActionQuerySet) -> ActionQuerySet:
    given = Word.objects.filter(
        action=OuterRef("pk"), void=False, verdict=Word.Verdict.APPROVE, digest=OuterRef("digest")
    )
    return rows.pending().filter(~Exists(given), deadline__gt=timezone.now()).order_by("deadline", "id")


def view(speaker: Speaker) -> View:
    """The page of this person as it stands now."""
    shown = list(asked(speaker)[:MOST])
    number = waiting(speaker) if len(shown) == MOST else len(shown)
    past = _past(speaker)
    mark = _mark(shown, number, past)
    return View(tuple(map(_ask, shown)), past[:MOST], max(number, len(shown)), len(past) > MOST, mark)


def waiting(speaker: Speaker) -> int:
    """How many wait for this person's word."""
    return asked(speaker).count()


def _of(speaker: Speaker) -> ActionQuerySet:
    """Every action that asks, or asked, for the word that this speaker may give."""
    name = speaker.name if speaker.account is None else word.account_name(speaker.account)
    rows = _attested().filter(session__user=name)
    if not name:
        return rows.none()
    if speaker.key is not None:
        return rows.filter(agent=speaker.key.agent_id)
    return rows.filter(session=speaker.link.session_id) if speaker.link is not None else rows


def _attested() -> ActionQuerySet:
    rows = Action.objects.select_related("session", "agent")
    return rows.filter(groups__contains=[USER], session__attested=True).exclude(session__user="")


def _past(speaker: Speaker) -> tuple[Past, ...]:
    """What waits for their word no more, the newest first, and one beyond the page if there is one."""
    rows = _of(speaker).exclude(pk__in=asked(speaker).order_by().values("pk")).prefetch_related("words")
    return tuple(_told(action) for action in rows.order_by(F("changed_at").desc(), "id")[: MOST + 1])


def _told(action: Action) -> Past:
    said = word.standing(action)
    verb = "" if said is None else "You approved" if said.verdict == Word.Verdict.APPROVE else "You rejected"
    until = None
    if said is not None and verb == "You approved" and action.state in (S.PENDING, S.READY):
        until = said.at + timedelta(seconds=settings.AGENTSEC_UNDO_SECONDS)
    fate = "" if verb == "You rejected" else FATES.get(S(action.state), action.get_state_display().lower())
    if action.state == S.PENDING and said is None:
        fate = "the time to answer is over"
    return Past(action, verb, fate, until if until and until > timezone.now() else None)


def _ask(action: Action) -> Ask:
    found = authorities(action)
    names = frozenset(item.name for item in found)
    drawn = drawing.drawn(action, user=None, authority=names)
    came = tuple(
        Came(
            item.name, SENTENCES.get(quote.origin, quote.origin), quote.values,
            quote.line if quote.origin == "user" else "", quote.span, quote.origin in ("untrusted", "agent"),
        )
        for item in found for quote in item.quotes
    )  # fmt: skip
    return Ask(action, drawn, came)


def _mark(shown: Sequence[Action], number: int, past: Sequence[Past]) -> str:
    told = [str(number), *(f"{action.pk} {action.digest}" for action in shown)]
    told += [f"{one.action.pk} {one.action.state} {one.said}" for one in past]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:32]


def describe(action: Action) -> dict[str, Any]:
    """What a host shows its user, as JSON."""
    origins = {path: str(one.get("origin", "")) for path, one in action.origins.items()}
    return {
        "action": str(action.pk), "session": str(action.session_id), "user": action.session.user,
        "agent": action.agent.name, "tool": action.tool, "effect": action.effect,
        "summary": action.summary, "target": action.target, "args": action.args, "origins": origins,
        "reason": action.reason, "revision": action.revision, "digest": action.digest,
        "asked_at": action.created_at.isoformat(), "expires_at": action.deadline.isoformat(),
        "confirm": typed.words(action) if action.effect == "destructive" else None,
    }  # fmt: skip
