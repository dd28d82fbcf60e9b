"""Who may read which trace, asked of the one table, and the entry that each reading leaves in the log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from approvals.models import Action
from policies.access import Verb, actor, groups_decided, may, require, teams_read
from policies.models import User
from traces import explore, record
from traces.models import Entry, Session, Span
from traces.problems import Refused

READ = "trace.read"
SEARCHED = "trace.searched"
ONE_READING = timedelta(minutes=15)


def scope(user: User) -> explore.Scope:
    """The traces this person reads: their teams', and those with an action that asked a group of theirs."""
    groups = groups_decided(user)
    asked = reduce(or_, (Q(groups__contains=[group]) for group in sorted(groups)), Q(pk__in=[]))
    return explore.Scope(teams_read(user), Action.objects.filter(asked).values("session_id"))


def session(user: User, session_id: UUID, *, verb: Verb = Verb.TRACE_READ) -> Session:
    """A session that this person may read. Raises Refused: not_found where they may not, forbidden where
    they may read it but not do what `verb` says.
    """
    found = Session.objects.select_related("parent").filter(pk=session_id).first()
    groups = asked_groups(found) if found else ()
    if found is None or not may(user, Verb.TRACE_READ, team=found.team, groups=groups).allowed:
        raise Refused("not_found", "There is no such session, or it is not yours to read.")
    require(user, verb, team=found.team, groups=groups)
    return found


def entry(user: User, entry_id: UUID) -> Entry:
    """An entry that this person may read, with span, leaf and session. Raises Refused("not_found")."""
    found = explore.with_proof(Entry.objects.filter(uuid=entry_id)).first()
    if found is not None and found.session is not None:
        session(user, found.session.pk)
    elif found is None or not may(user, Verb.TRACE_READ).allowed:
        raise Refused("not_found", "There is no such entry, or it is not yours to read.")
    return found


def action(user: User, action_id: UUID, *, verb: Verb = Verb.TRACE_READ) -> Action:
    """An action in a session that this person may read. Raises Refused: not_found, forbidden."""
    found = Action.objects.select_related("session").filter(pk=action_id).first()
    if found is None:
        raise Refused("not_found", "There is no such action, or it is not yours to read.")
    session(user, found.session_id, verb=verb)
    return found


def asked_groups(of: Session) -> frozenset[str]:
    """Every group that an action of this session asked."""
    lists = Action.objects.filter(session=of).exclude(groups=[]).values_list("groups", flat=True).distinct()
    return frozenset(group for groups in lists for group in groups)


@transaction.atomic
def note_reading(user: User, of: Session, *, fresh: bool) -> None:
    """Append `trace.read`: who reads which session. What is fetched while a page stays open belongs to the
    reading that opened it, for 15 minutes; `fresh` is a page that was opened anew.
    """
    told = {"session": str(of.pk), "user": user.pk}
    if not fresh and _lately(READ, told):
        return
    _note(READ, user, title=f"{user.username} read session {of.pk}", told=told)


@transaction.atomic
def note_search(user: User, asked: Mapping[str, Any], *, fresh: bool) -> None:
    """Append `trace.searched`: who looked for what. What a page fetches while it stays open belongs to the
    search that opened it, for 15 minutes. What was asked is not found by a search itself, or each search
    would find its own entry first.
    """
    told = {"user": user.pk}
    if not fresh and _lately(SEARCHED, told):
        return
    _note(SEARCHED, user, title=f"{user.username} searched the traces", told=told, asked=dict(asked))


def rights(user: User, of: Session) -> dict[str, Any]:
    """What this person may do with a session beyond reading; who else read it, for those who read all."""
    groups = asked_groups(of)
    return {
        "may_export": may(user, Verb.TRACE_EXPORT, team=of.team, groups=groups).allowed,
        "may_clear": may(user, Verb.LABEL_CLEAR, team=of.team, groups=groups).allowed,
        "readings": readings(of) if may(user, Verb.TRACE_READ).allowed else [],
    }


def readings(of: Session) -> list[Span]:
    """Who read a session, newest first."""
    # The words narrow by the text index; the attribute, which has none, then decides.
    named = Span.objects.matching(f'"{of.pk}"').filter(kind=READ)
    return list(named.filter(attributes__session=str(of.pk)).order_by("-entry_id")[:20])


def _lately(kind: str, told: Mapping[str, Any]) -> bool:
    """Looked for among the newest only: one reading too many in the log is better than a slow page."""
    newest = Span.objects.filter(kind=kind).order_by("-entry_id").values_list("at", "attributes")[:500]
    since = timezone.now() - ONE_READING
    return any(at >= since and attributes == told for at, attributes in newest)


def _note(kind: str, user: User, *, title: str, told: Mapping[str, Any], **more: Any) -> None:
    # About the reader, and in no session: else reading a session would change what is read.
    body = {"by": user.username, **told, **more}
    record.append(kind=kind, actor=actor(user), subject=actor(user), body=body, title=title, attributes=told)
