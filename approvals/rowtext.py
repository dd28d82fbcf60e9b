"""The text of a row, kept: it is the same for everybody who may see it, and drawing it is what costs.

Who may see a row is asked each time, of what the database says now; kept is only what it looks like. What a
row shows comes from its action, of which PostgreSQL itself names each state (`feed.versioned`), and from a
few things beside it, each of which is part of the key. So a kept text is never an old one, whoever wrote.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable

from django.template.loader import get_template

from approvals import claims, later, word
from approvals.presenters import Row
from approvals.word_models import USER

# About 3 KB each, and a few pages of a busy inbox.
MOST = 2_000

_kept: OrderedDict[Hashable, str] = OrderedDict()
_lock = threading.Lock()


def html(row: Row) -> str:
    """The row as pages show it; its action was read as `changed.read` and `feed.versioned` do."""
    key = _key(row)
    with _lock:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key]
    text = get_template("approvals/_row.html").render({"row": row})
    with _lock:
        _kept[key] = text
        while len(_kept) > MOST:
            _kept.popitem(last=False)
    return text


def _key(row: Row) -> Hashable:
    """All that the template shows: what is not a column of the action stands here by itself."""
    action, session = row.action, row.action.session
    claim = claims.of(action)
    return (
        action.pk, action.written, action.version, row.risk, row.votes, row.held,  # type: ignore[attr-defined]
        claim.by if claim is not None else "", action.agent.name, session.user, session.attested,
        word.asked_of(action) if USER in action.groups else "", later.planned_at(action),
    )  # fmt: skip
