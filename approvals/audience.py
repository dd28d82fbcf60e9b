"""Who hears what: read from the database for every message, rendered once an audience.

An audience is the set of people to whom a message looks the same: those of the same roles and groups.
What is sent to one is what `policies.access` lets them read at that moment; whether each still is what
they were is asked beside it (`approvals.standing`).

The inbox is told rows (`row_notes`). Another topic with messages of its own has a renderer in `RENDERERS`:
one function that is given the messages of a moment, reads what they are about once, and returns what each
audience is told. Every other topic is a bell.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from approvals import changed, looking, presenters, queries, rowtext
from approvals.models import Action
from approvals.standing import Audience, Glance
from policies.access import Verb, may
from policies.models import User
from traces.models import Session

KNOWN = re.compile(
    r"inbox|looking|traces|(?:action|output|session):[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)
RESYNC = json.dumps({"type": "resync"})
Messages = Sequence[Mapping[str, Any]]
Teller = Callable[[User], tuple[str, ...]]


def admit(user: User, topics: frozenset[str]) -> bool:
    """Whether this person may listen to all of these topics now."""
    return all(_may_hear(user, topic) for topic in topics)


def notes(topic: str, audiences: Iterable[Audience], messages: Messages) -> dict[Audience, tuple[str, ...]]:
    """For each audience, what these messages on this topic come to for them."""
    render = RENDERERS.get(topic)
    tell = bell(topic) if render is None else render(messages)
    told = {audience: tell(audience.person) for audience in audiences}
    if render is None or not any(message.get("type") == "resync" for message in messages):
        return told
    # Something may have been lost: the page reads that part again.
    return {audience: (rung(topic), *texts) for audience, texts in told.items()}


def waiting(audiences: Iterable[Audience]) -> dict[Audience, int]:
    """How many actions wait for each audience; one query for all of them."""
    counted = queries.pending_by_groups()
    return {audience: queries.waiting(audience.person, counted) for audience in audiences}


def named(messages: Messages) -> frozenset[UUID]:
    """The actions that these messages are about. Raises ValueError for nonsense."""
    return frozenset(UUID(str(each["id"])) for each in messages if each.get("type") == "action")


def rows_of(action_ids: Iterable[UUID], glance: Glance | None = None) -> list[presenters.Row]:
    """The rows of these actions as they are now, in the order of their last changes."""
    actions = sorted(changed.read(action_ids, glance), key=changed.version)
    holds = changed.holds(actions)
    return [presenters.row(action, holds) for action in actions]


def row_notes(
    rows: Iterable[presenters.Row], audiences: Iterable[Audience]
) -> dict[Audience, tuple[str, ...]]:
    """For each audience, those of the rows that it may read, as messages; each is drawn once."""
    drawn: dict[UUID, str] = {}
    told: dict[Audience, list[str]] = {audience: [] for audience in audiences}
    for row in rows:
        for audience, texts in told.items():
            if _may_read(audience.person, row.action):
                texts.append(drawn.get(row.action.pk) or drawn.setdefault(row.action.pk, row_message(row)))
    return {audience: tuple(texts) for audience, texts in told.items()}


def row_message(row: presenters.Row) -> str:
    """One row as a page takes it over. `v` grows with each change: no page goes back to an older one."""
    action = row.action
    told = {"type": "row", "id": str(action.pk), "state": action.state, "digest": action.digest}
    more = {"by": action.decided_by, "v": changed.version(action), "html": rowtext.html(row)}
    return json.dumps(told | more)


def rung(topic: str) -> str:
    return json.dumps({"type": "changed", "topic": topic})


def bell(topic: str) -> Teller:
    """The other topics say only that something changed; the page then reads it under its own rights."""
    text = rung(topic)

    def tell(user: User) -> tuple[str, ...]:
        return (text,) if _may_hear(user, topic) else ()

    return tell


RENDERERS: dict[str, Callable[[Messages], Teller]] = {looking.TOPIC: looking.notes}


def _may_hear(user: User, topic: str) -> bool:
    kind, _, key = topic.partition(":")
    if kind in ("inbox", looking.TOPIC):
        return may(user, Verb.INBOX_SEE).allowed
    if kind == "traces":
        return may(user, Verb.TRACES_SEE).allowed
    if kind == "session":
        return _may_read_session(user, key)
    action = Action.objects.filter(pk=key).first()
    return action is not None and _may_read(user, action)


def _may_read(user: User, action: Action) -> bool:
    return may(user, Verb.ACTION_READ, team=action.team, groups=action.groups).allowed


def _may_read_session(user: User, key: str) -> bool:
    session = Session.objects.filter(pk=key).first()
    if session is None:
        return False
    asked = Action.objects.filter(session=session).values_list("groups", flat=True)
    groups = {name for names in asked for name in names}
    return may(user, Verb.TRACE_READ, team=session.team, groups=groups).allowed
