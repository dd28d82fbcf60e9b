"""In whose hands an account may be: whoever makes a link by which its password is set may have used it.

So for as long as a password holds that was set by somebody's link, the account is in their hand as well, and
in the hands in which they were when they made it, also where an account made its own link. Links that came by
mail, and those of the machine's operator, are the person's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from policies.models import Link


@dataclass(frozen=True)
class _Used:
    """A link that set an account's password. `by` as the log names people."""

    by: str
    made_at: datetime
    used_at: datetime


@dataclass(frozen=True)
class Hands:
    """Every link that was used, by account, the newest first."""

    used: Mapping[str, tuple[_Used, ...]]

    def of(self, actor: str, *, since: datetime, until: datetime) -> frozenset[str]:
        """Who may have held this account at some time from `since` to `until`, as the log names them."""
        found, open_ = {actor}, [(actor, since, until)]
        seen: set[_Used] = set()
        while open_:
            holder, start, end = open_.pop()
            for link in self._in_force(holder, start, end):
                if link not in seen:
                    seen.add(link)
                    found.add(link.by)
                    # Who held the maker's account afterwards never knew the link.
                    open_.append((link.by, link.made_at, link.made_at))
        return frozenset(found)

    def _in_force(self, actor: str, since: datetime, until: datetime) -> Iterator[_Used]:
        for link in self.used.get(actor, ()):
            if link.used_at > until:
                continue
            if link.by.startswith("user:"):
                yield link
            if link.used_at <= since:
                return


def read() -> Hands:
    """All of them, by one query."""
    rows = Link.objects.filter(used_at__isnull=False, user__isnull=False).exclude(purpose=Link.Purpose.DEMO)
    found: dict[str, list[_Used]] = {}
    for link in rows.order_by("-used_at", "-id"):
        if link.used_at is not None:
            used = _Used(link.by, link.created_at, link.used_at)
            found.setdefault(f"user:{link.user_id}", []).append(used)
    return Hands({actor: tuple(links) for actor, links in found.items()})
