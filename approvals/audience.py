"""Who hears what: read from the database for every message, rendered once an audience.

An audience is the set of people to whom a message looks the same: those who are in the same ones of the asked
groups, auditors apart. What is sent to a person is what `policies.access` lets them read at that moment.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.sessions.models import Session as SignIn
from django.template.loader import render_to_string
from django.utils import timezone

from approvals import holding, looking, presenters, queries
from approvals.models import Action
from policies import absences
from policies.access import Verb, may
from policies.models import Role, User
from traces.models import Session

KNOWN = re.compile(
    r"inbox|looking|traces|(?:action|output|session):[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)
RESYNC = json.dumps({"type": "resync"})


@dataclass(frozen=True)
class Guest:
    """Who opened a socket, and what held then: a change of any of it ends the socket."""

    user_id: int
    sign_in: str
    password_mark: str
    roles: frozenset[str]
    groups: frozenset[str]

    @classmethod
    def of(cls, user: User, sign_in: str) -> Guest:
        return cls(user.pk, sign_in, user.get_session_auth_hash(), frozenset(user.roles), user.answers_for)


@dataclass(frozen=True)
class Note:
    """What a socket is sent; `ended` says why it is closed instead, empty if it is not."""

    texts: tuple[str, ...] = ()
    ended: str = ""


@dataclass(frozen=True)
class Standing:
    """The people behind some sockets as they are now, and which of their sign-ins still hold."""

    users: Mapping[int, User]
    sign_ins: frozenset[str]


def standing(guests: Sequence[Guest]) -> Standing:
    """Two queries for people and groups, one for sign-ins, however many sockets there are."""
    users = User.objects.filter(pk__in={guest.user_id for guest in guests}).prefetch_related("groups")
    found = {user.pk: user for user in users}
    for user in found.values():
        user._group_names = frozenset(group.name for group in user.groups.all())
    absences.read_for(found.values())
    keys = {guest.sign_in for guest in guests}
    alive = SignIn.objects.filter(session_key__in=keys, expire_date__gt=timezone.now())
    return Standing(found, frozenset(alive.values_list("session_key", flat=True)))


def ended(guest: Guest, now: Standing) -> str:
    """Why this socket ends: "signed out" or "changed"; empty while everything is as it was."""
    user = now.users.get(guest.user_id)
    if user is None or not user.is_active or guest.sign_in not in now.sign_ins:
        return "signed out"
    if not hmac.compare_digest(user.get_session_auth_hash(), guest.password_mark):
        return "signed out"
    same = frozenset(user.roles) == guest.roles and user.answers_for == guest.groups
    return "" if same else "changed"


def admit(user: User, topics: frozenset[str]) -> bool:
    """Whether this person may listen to all of these topics now."""
    return all(_may_hear(user, topic) for topic in topics)


def notes(topic: str, guests: Sequence[Guest], messages: Sequence[Mapping[str, Any]]) -> list[Note]:
    """For each guest, in their order, what these messages on this topic come to for them."""
    now = standing(guests)
    resync = (RESYNC,) if any(message.get("type") == "resync" for message in messages) else ()
    render = {"inbox": _inbox, looking.TOPIC: looking.notes}.get(topic)
    tell = render(messages) if render is not None else _bell(topic)
    told = []
    for guest in guests:
        why = ended(guest, now)
        told.append(Note(ended=why) if why else Note(resync + tell(now.users[guest.user_id])))
    return told


def _inbox(messages: Sequence[Mapping[str, Any]]) -> Callable[[User], tuple[str, ...]]:
    """Rows: each changed action is read once and rendered once an audience, whoever it was announced to."""
    ids = dict.fromkeys(str(message["id"]) for message in messages if message.get("type") == "action")
    rows = (
        Action.objects.filter(pk__in=ids)
        .select_related("session", "agent__team")
        .prefetch_related("votes", "words")
    )
    holds = holding.holds()
    changed = [presenters.row(action, holds) for action in rows]
    rendered: dict[tuple[Any, ...], str] = {}
    counts: dict[tuple[Any, ...], int] = {}

    def tell(user: User) -> tuple[str, ...]:
        seen = [row for row in changed if _may_read(user, row.action)]
        if not seen:
            return ()
        mine = (user.has_role(Role.AUDITOR), user.has_role(Role.APPROVER), user.answers_for)
        if mine not in counts:
            counts[mine] = queries.inbox(user).count()
        return tuple(_row(row, user, counts[mine], rendered) for row in seen)

    return tell


def _row(row: presenters.Row, user: User, waiting: int, rendered: dict[tuple[Any, ...], str]) -> str:
    action = row.action
    key = (action.pk, user.has_role(Role.AUDITOR), user.answers_for & frozenset(action.groups), waiting)
    if key not in rendered:
        html = render_to_string("approvals/_row.html", {"row": row})
        told = {"type": "row", "id": str(action.pk), "state": action.state, "digest": action.digest}
        rendered[key] = json.dumps(told | {"by": action.decided_by, "html": html, "waiting": waiting})
    return rendered[key]


def _bell(topic: str) -> Callable[[User], tuple[str, ...]]:
    """The other topics say only that something changed; the page then reads it under its own rights."""
    text = json.dumps({"type": "changed", "topic": topic})
    known: dict[tuple[Any, ...], bool] = {}

    def tell(user: User) -> tuple[str, ...]:
        key = (frozenset(user.roles), user.answers_for)
        if key not in known:
            known[key] = _may_hear(user, topic)
        return (text,) if known[key] else ()

    return tell


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
