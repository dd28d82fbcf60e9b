"""The evidence of an action or of a session: a bundle that verifies offline, with a page's worth to read.

`evidence.json` in the bundle is drawn from the same entries that the bundle proves, and names each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from approvals.models import Action
from policies.access import Verb, actor, require
from policies.models import User
from traces import bundle, record, seal
from traces.models import Entry, Session

# Where each kind of entry is told; the first prefix that fits wins.
_CHAPTERS = (
    ("action.proposed", "request"),
    ("action.judged", "checks"),
    ("action.edited", "edits"),
    ("vote.", "votes"),
    ("confirmation.", "confirmations"),
    ("grant.", "grants"),
    ("action.", "states"),
    ("execution.", "runs"),
    ("session.", "context"),
)


def export(*, action: Action, user: User) -> bytes:
    """The evidence of one action: its request, the rules with their text, checks, votes, runs and outcome,
    and the whole session as its context. Not inside a transaction: it waits for the log's checkpoint.

    Appends `bundle.exported`. Raises Refused: forbidden, not_found, too_large, unavailable.
    """
    groups = _groups(Action.objects.filter(pk=action.pk))
    require(user, Verb.TRACE_EXPORT, team=action.team, groups=groups)
    bundle.refuse_too_much(Entry.objects.of_session(action.session_id))
    ids, told = [str(action.session_id), str(action.pk)], chapters(_about(action))
    outcome = {"state": action.state, "decided_by": action.decided_by, "revision": action.revision}
    summary = {"action": str(action.pk), "summary": action.summary, "outcome": outcome, **told}
    return bundle.export(ids, actor=actor(user), extra={"evidence.json": summary})


def export_session(*, session: Session, user: User) -> bytes:
    """The evidence of one session: every entry of it. As `export` otherwise."""
    groups = _groups(Action.objects.filter(session=session))
    require(user, Verb.TRACE_EXPORT, team=session.team, groups=groups)
    entries = Entry.objects.of_session(session.pk)
    bundle.refuse_too_much(entries)
    told = chapters(entries.select_related("subject_key"))
    summary = {"session": str(session.pk), "agent": session.agent_name, "labels": session.labels, **told}
    return bundle.export([str(session.pk)], actor=actor(user), extra={"evidence.json": summary})


def chapters(entries: Iterable[Entry]) -> dict[str, list[dict[str, Any]]]:
    """Entries as a reader wants them: request, checks, votes and so on, each in the order of the log."""
    told: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        name = next((name for prefix, name in _CHAPTERS if entry.kind.startswith(prefix)), "other")
        told.setdefault(name, []).append(_told(entry))
    return told


def _told(entry: Entry) -> dict[str, Any]:
    about = {"entry": str(entry.uuid), "at": entry.at.isoformat(), "kind": entry.kind, "by": entry.actor}
    return {**about, **_body(entry)}


def _body(entry: Entry) -> Mapping[str, Any]:
    try:
        body = record.open_payload(entry)
    except seal.Tampered as error:
        return {"unreadable": str(error)}
    return {"unreadable": "erased"} if isinstance(body, record.Erased) else {"body": body}


def _about(action: Action) -> list[Entry]:
    """The action's own entries, and what its session had heard and been labelled with by the end of it."""
    own = list(Entry.objects.about(str(action.pk)).select_related("subject_key"))
    context = Entry.objects.of_session(action.session_id).filter(kind__startswith="session.")
    last = own[-1].pk if own else 0
    heard = context.filter(pk__lte=last, action_id=None).select_related("subject_key")
    return sorted([*own, *heard], key=lambda entry: entry.pk)


def _groups(actions: Any) -> Sequence[str]:
    return sorted({group for groups in actions.values_list("groups", flat=True) for group in groups})
