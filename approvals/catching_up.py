"""What a page that was away, or has just been read, must be told to know what everybody knows."""

from __future__ import annotations

import json

from approvals import audience, feed, queries, standing
from approvals.feed import Cursor
from approvals.seats import Packet
from approvals.standing import Guest, Roll


def missed(guest: Guest, since: Cursor | None) -> Packet | None:
    """The rows that changed since then, each as it is now, of those this guest may read; then how many wait.

    "resync" instead of the rows where that is too much or too long ago. None for somebody who may not listen.
    """
    if since is None:
        return Packet((audience.RESYNC,))
    news = feed.since(since)
    person = guest.audience.person
    changed = news.changed or {}
    visible = queries.visible(person).filter(pk__in=list(changed)).values_list("pk", flat=True)
    rows = audience.rows_of(visible)
    told = [audience.row_message(row) for row in rows] if news.changed is not None else [audience.RESYNC]
    waiting = queries.waiting(person, queries.pending_by_groups())
    if standing.fallen(Roll((guest,))):
        return None
    return Packet((*told, counted(waiting, news.cursor)))


def counted(waiting: int, cursor: Cursor | None) -> str:
    """How many wait, and where the page stands now that it has heard this."""
    return json.dumps({"type": "waiting", "n": waiting, "cursor": str(cursor) if cursor else ""})
