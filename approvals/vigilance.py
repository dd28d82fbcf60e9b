"""How long somebody looked at what they decide: measured by the page, bounded by a stamp of the server.

The page says for how many milliseconds a card was in view. A stamp in the card, signed, says when it was
served and to whom, so nobody can claim to have looked for longer than since then. All of it is a hint to the
person and to those who watch over how people decide; a decision never depends on it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from hashlib import sha256
from uuid import UUID

from django.core import signing

from approvals import presenters
from approvals.attention import Attention
from approvals.attention_models import Look
from approvals.decisions import Decision
from approvals.models import Action
from policies.models import User

SALT = "agentsec.served"
QUICK_MS = 2_000
LONGEST_MS = 60 * 60 * 1000
UNASKED = frozenset({"untrusted", "agent"})  # origins of which no user knows


def stamp(user: User, about: str) -> str:
    """A signed note of when this was served to this person, for the page to send back."""
    return signing.dumps([user.pk, about, _now()], salt=SALT)


def about(action: Action) -> str:
    """What a card shows: the action as it stands."""
    return f"{action.pk}:{action.digest}"


def about_all(digests: Iterable[str]) -> str:
    """What a list of many shows, in whatever order."""
    return sha256(",".join(sorted(digests)).encode()).hexdigest()


def seen_ms(user: User, subject: str, *, served: str, claimed: str) -> int | None:
    """Milliseconds in view: what the page claims, at most since it was served; None for anything unsound."""
    if not (claimed.isascii() and claimed.isdecimal() and len(claimed) <= 12):
        return None
    try:
        whom, what, at = signing.loads(served, salt=SALT)
    except (signing.BadSignature, ValueError, TypeError):
        return None
    passed = _now() - at
    if whom != user.pk or what != subject or passed < 0:
        return None
    return int(min(int(claimed), passed, LONGEST_MS))


def of_card(user: User, action: Action, post: Mapping[str, str]) -> Attention:
    """The look that came before a decision on one card."""
    subject = about(action)
    looked = seen_ms(user, subject, served=post.get("served", ""), claimed=post.get("seen_ms", ""))
    return Attention(seen_ms=looked, risky=bool(risky(action)))


def shared(user: User, bulk: UUID, digests: Iterable[str], post: Mapping[str, str]) -> Attention:
    """The look at a list of many, an equal share for each."""
    listed = list(digests)
    subject = about_all(listed)
    looked = seen_ms(user, subject, served=post.get("served", ""), claimed=post.get("seen_ms", ""))
    return Attention(seen_ms=None if looked is None else looked // max(1, len(listed)), bulk=bulk)


def on(attention: Attention, action: Action) -> Attention:
    """The same look, at this action."""
    return replace(attention, risky=bool(risky(action)))


def risky(action: Action) -> str:
    """Why an approval of it deserves a longer look, as "a high-risk action"; empty where nothing does."""
    if presenters.risk(action).word == "High":
        return "a high-risk action"
    authority = json.loads(action.facts_json).get("authority", {})
    return "a target that no user named" if UNASKED & {*authority.values()} else ""


def gently(decision: Decision, attention: Attention) -> Decision:
    """The decision; where somebody approved something risky at a glance, its message says so."""
    quick = attention.risky and attention.seen_ms is not None and attention.seen_ms < QUICK_MS
    if not quick or decision.effect not in ("approved", "counted"):
        return decision
    what = risky(decision.action) or "a risky action"
    said = f"{decision.message} That was quick for {what}: undo it, if you want to look again."
    return replace(decision, message=said)


def gently_all(bulk: UUID) -> str:
    """A reminder where many risky ones were approved at a glance; empty where none was."""
    looks = Look.objects.filter(bulk=bulk, risky=True, seen_ms__lt=QUICK_MS, vote__verdict="approve")
    count = looks.count()
    what = "a target" if count == 1 else f"{count} targets"
    return f"That was quick for {what} that no user named: undo, if you want to look again." if count else ""


def _now() -> int:
    return time.time_ns() // 1_000_000
