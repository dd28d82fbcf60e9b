"""Four eyes: whoever drafted something is not the one who makes it hold (setting AGENTSEC_FOUR_EYES)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Max, Min
from django.utils import timezone

from policies import hands
from policies.hands import Hands
from traces.models import Entry
from traces.problems import Refused

DRAFTED = "policy.drafted"
# The whole draft was set to something else at once, so edits before it are no part of it any more.
RESTORED = "policy.restored"


def required() -> bool:
    """Whether this site wants a second person."""
    return bool(settings.AGENTSEC_FOUR_EYES)


def drafters(*, since: datetime | None) -> dict[str, tuple[datetime, datetime]]:
    """Who has a part in the draft as it is, as the log names them, with their first and last edit.

    `since` is the newest release's time.
    """
    edits = Entry.objects.filter(kind__in=(DRAFTED, RESTORED))
    if since is not None:
        edits = edits.filter(at__gt=since)
    restored = edits.filter(kind=RESTORED).order_by("-id").values_list("id", flat=True).first()
    if restored is not None:
        edits = edits.filter(id__gte=restored)
    found = edits.order_by().values_list("actor").annotate(Min("at"), Max("at"))
    return {actor: (first, last) for actor, first, last in found}


def refuse_drafter(by: str, *, since: datetime | None) -> None:
    """With four-eyes, whoever touched the draft since the last release does not publish it.

    Raises Refused("forbidden").
    """
    if required() and drafted_by(by, since=since):
        raise Refused("forbidden", "You changed this draft yourself: somebody else has to publish it.")


def drafted_by(by: str, *, since: datetime | None) -> bool:
    """Whether this person, or an account that may be in the same hand, has a part in the draft."""
    known, now = hands.read(), timezone.now()
    mine = known.of(by, since=now, until=now)
    edits = drafters(since=since).items()
    return any(mine & known.of(drafter, since=first, until=last) for drafter, (first, last) in edits)


@dataclass(frozen=True)
class Wish:
    """A change that waits for a second person: of what kind, to what, from which state to which.

    `before` and `after` are JSON values; `sealed` is what nobody may read, under the site's key.
    """

    kind: str
    target: str
    title: str
    before: Any
    after: Any
    sealed: bytes = field(default=b"", repr=False)


class NeedsSecond(Refused):
    """Four-eyes is on: nothing was done. A door that knows it keeps the wish for somebody else to confirm."""

    def __init__(self, wish: Wish) -> None:
        super().__init__("forbidden", f"Four-eyes is on: somebody else has to confirm this ({wish.title}).")
        self.wish = wish


_confirmed: ContextVar[bool] = ContextVar("confirmed", default=False)


def gate(wish: Wish, *, by: str) -> None:
    """Raise NeedsSecond where four-eyes is on and `by` is a person whose wish nobody has confirmed.

    Whoever runs commands on the machine passes: they could switch four-eyes off, and without them nobody
    could make the second administrator.
    """
    if asks(by):
        raise NeedsSecond(wish)


def asks(by: str) -> bool:
    """Whether a gate would stop this actor now."""
    return required() and by.startswith("user:") and not _confirmed.get()


@contextmanager
def confirming() -> Iterator[None]:
    """Within it a verb does what a second person has confirmed. For `changes.confirm` alone."""
    token = _confirmed.set(True)
    try:
        yield
    finally:
        _confirmed.reset(token)


def same_hand(one: str, other: str, *, at: datetime, known: Hands | None = None) -> bool:
    """Whether one person may stand behind two accounts, as the log names them: behind `one` as it was then,
    when something was proposed by it, and behind `other` now.
    """
    known, now = known or hands.read(), timezone.now()
    return bool(known.of(one, since=at, until=at) & known.of(other, since=now, until=now))
