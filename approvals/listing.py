"""The inbox's lists: what waits, what I decided, all I see; keyset pages, a constant number of queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Q, prefetch_related_objects
from django.utils import timezone

from approvals import feed, holding, presenters, queries
from approvals.models import Action, ActionQuerySet, Vote
from approvals.word_models import USER
from policies.models import User

PAGE = 30
MAX_WORDS = 200
SHOWS = {
    "waiting": "Waiting",
    "mine": "Mine",
    "running": "Under way",
    "decided": "Decided",
    "all": "All",
}
UNDER_WAY = (Action.State.RUNNING, Action.State.READY)


@dataclass(frozen=True)
class Wish:
    """What the address asks for. `after` is the place where the page before ended."""

    show: str = "waiting"
    q: str = ""
    after: str = ""

    @classmethod
    def read(cls, query: Mapping[str, str]) -> Wish:
        """Whatever an address may say, as a wish; what makes no sense is the plain inbox."""
        show = query.get("show", "waiting")
        words = query.get("q", "").replace("\0", "").strip()[:MAX_WORDS]
        return cls(show if show in SHOWS else "waiting", words, query.get("after", ""))

    @property
    def order(self) -> str:
        """The field that the list is sorted by; the most urgent first, or the newest first."""
        return "deadline" if self.show in ("waiting", "mine") else "-created_at"

    def link(self, **changes: str) -> str:
        """The address of this wish with something changed."""
        wanted = {"show": self.show, "q": self.q, "after": "", **changes}
        kept = {
            name: value for name, value in wanted.items() if value and (name, value) != ("show", "waiting")
        }
        return "/?" + urlencode(kept) if kept else "/"


@dataclass(frozen=True)
class Listing:
    """One page of rows; `more` is the address of the next page, empty at the end."""

    wish: Wish
    rows: tuple[presenters.Row, ...]
    more: str
    waiting: int
    cursor: feed.Cursor

    @property
    def tabs(self) -> list[tuple[str, str, bool]]:
        return [(label, self.wish.link(show=name), name == self.wish.show) for name, label in SHOWS.items()]


def page(user: User, wish: Wish) -> Listing:
    """The page of the list that this person asked for, of what this person may see."""
    cursor = feed.cursor()  # before the rows: what ends in between is told again, not lost
    found = _read(_after(_rows(user, wish), wish), wish)
    more = wish.link(after=_place(found[PAGE - 1], wish)) if len(found) > PAGE else ""
    holds = holding.holds()
    rows = tuple(presenters.row(action, holds) for action in found[:PAGE])
    return Listing(wish, rows, more, waiting=queries.inbox(user).count(), cursor=cursor)


def _rows(user: User, wish: Wish) -> ActionQuerySet:
    rows = queries.inbox(user) if wish.show == "waiting" else queries.visible(user)
    if wish.show == "mine":
        rows = queries.inbox(user).filter(claimed_by=user.username, claimed_until__gt=timezone.now())
    if wish.show == "running":
        rows = rows.filter(state__in=UNDER_WAY)
    if wish.show == "decided":
        rows = rows.filter(pk__in=Vote.objects.filter(user=user).values("action"))
    if wish.q:
        columns = ("tool", "agent__name", "summary", "target", "session__user")
        rows = rows.filter(Q(*[(f"{column}__icontains", wish.q) for column in columns], _connector=Q.OR))
    return _sorted(rows, wish)


def _read(rows: ActionQuerySet, wish: Wish) -> list[Action]:
    """A page of these rows. Their ids are found first: sorting ids is quick, sorting whole rows is not."""
    page = Action.objects.filter(pk__in=rows.values("pk")[: PAGE + 1]).select_related(
        "session", "agent__team"
    )
    found = list(_sorted(feed.versioned(page), wish).prefetch_related("votes"))
    # Only what asks for the user's own word can have one.
    prefetch_related_objects([action for action in found if USER in action.groups], "words")
    return found


def _sorted(rows: ActionQuerySet, wish: Wish) -> ActionQuerySet:
    return rows.order_by(wish.order, "-id" if wish.order.startswith("-") else "id")


def _after(rows: ActionQuerySet, wish: Wish) -> ActionQuerySet:
    at, _, key = wish.after.rpartition("~")
    try:
        moment, identity = datetime.fromisoformat(at), UUID(key)
        if moment.tzinfo is None:
            return rows
        # Not every offset that Python reads is one that PostgreSQL takes.
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return rows
    field, past = wish.order.lstrip("-"), "lt" if wish.order.startswith("-") else "gt"
    return rows.filter(Q((f"{field}__{past}", moment)) | Q((field, moment), (f"id__{past}", identity)))


def _place(action: Action, wish: Wish) -> str:
    return f"{getattr(action, wish.order.lstrip('-')).isoformat()}~{action.pk}"
