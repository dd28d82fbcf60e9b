"""The searchable projection of the log: written with each entry, rebuilt from payloads, read in pages."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from traces import clean, problems
from traces.models import Entry, Session, Span, SpanQuerySet

MAX_TITLE = 500
MAX_TEXT = 100_000  # PostgreSQL refuses a tsvector beyond 1 MiB, and the row with it
MAX_WORDS = 1_000
MAX_PAGE = 200


@dataclass(frozen=True)
class Page:
    """Spans, newest first; `before` and `after` are the keysets of the next older and next newer page."""

    spans: Sequence[Span]
    before: int | None
    after: int | None


def project(entry: Entry, *, session: Session | None, payload: Mapping[str, Any]) -> Span:
    """Write the span of an entry from its payload, in the caller's transaction."""
    span = Span(
        entry=entry,
        session=session,
        agent_id=session.agent_id if session else "",
        team=session.team if session else "",
        kind=entry.kind,
        action_id=entry.action_id,
        at=entry.at,
        title=clean.storable(str(payload["title"]))[:MAX_TITLE],
        text=clean.storable(str(payload["text"]))[:MAX_TEXT],
        attributes=clean.storable_json(dict(payload["attributes"])),
    )
    span.save(force_insert=True)
    return span


def matching(
    *,
    q: str = "",
    kind: str = "",
    agent: str = "",
    team: str = "",
    teams: Iterable[str] | None,
    sessions: Any = None,
    session: str = "",
    action: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
) -> SpanQuerySet:
    """The spans that a search finds, in no order.

    In: words in the web style, exact filters, a time from `since` up to `until`, the teams that the reader
    may see (None: all), and `sessions`: ids, or a query of ids, readable beside those teams.
    """
    exact = {"kind": kind, "agent_id": agent, "team": team, "session_id": session, "action_id": action}
    spans = Span.objects.visible_to(teams, sessions)
    if any(value != clean.storable(value) for value in exact.values()) or not _may_be_session(session):
        return spans.none()
    spans = spans.filter(**{name: value for name, value in exact.items() if value})
    if since is not None:
        spans = spans.filter(at__gte=since)
    if until is not None:
        spans = spans.filter(at__lt=until)
    return spans.matching(clean.storable(q)[:MAX_WORDS]) if q.strip() else spans


def query(
    *,
    teams: Iterable[str] | None,
    before: int | None = None,
    after: int | None = None,
    limit: int = 50,
    **filters: Any,
) -> Page:
    """One page of what `matching` finds with the same filters.

    `before` and `after` are keysets: entries older or newer than it. Out: at most `limit` (up to 200) spans,
    newest first. Raises Invalid for an impossible page.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise problems.Invalid(f"A page has 1 to {MAX_PAGE} rows.")
    if before is not None and after is not None:
        raise problems.Invalid("A page lies before or after a place, not both.")
    spans = matching(teams=teams, **filters)
    if after is not None:
        return _newer(list(spans.newer_than(after).order_by("entry_id")[: limit + 1]), limit)
    if before is not None:
        spans = spans.older_than(before)
    return _older(list(spans.order_by("-entry_id")[: limit + 1]), limit, newest=before is None)


def _may_be_session(text: str) -> bool:
    try:
        return not text or bool(uuid.UUID(text))
    except ValueError:
        return False


def _older(found: list[Span], limit: int, *, newest: bool) -> Page:
    rows = found[:limit]
    return Page(
        spans=rows,
        before=rows[-1].entry_id if len(found) > limit else None,
        after=rows[0].entry_id if rows and not newest else None,
    )


def _newer(found: list[Span], limit: int) -> Page:
    rows = list(reversed(found[:limit]))
    return Page(
        spans=rows,
        before=rows[-1].entry_id if rows else None,
        after=rows[0].entry_id if len(found) > limit else None,
    )
