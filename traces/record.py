"""The sole writer of the log.

An entry and its place in the outbox stand in the caller's transaction: what is not recorded did not
happen, and what did not happen is not recorded.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import rfc8785
from django.db import connection, transaction

from traces import clean, dbtime, live, problems, seal, search
from traces.ids import uuid7
from traces.models import Entry, Outbox, Session, Span, SubjectKey
from traces.verify import commitment, leaf_hash

HEADER_VERSION = 1
SITE = "site"
MAX_NAME = 200
ERASED = "subject.erased"
_KIND = re.compile(r"[a-z][a-z0-9_.]{0,63}")
_ACTOR = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,200}")
_ACTION = re.compile(r"[\x21-\x7e]{1,64}")
_LABEL = re.compile(r"[a-z][a-z0-9_:.-]{0,63}")


@dataclass(frozen=True)
class Erased:
    """A payload that nobody can read any more."""

    key: uuid.UUID
    at: datetime | None

    def __bool__(self) -> bool:
        return False


_guard: list[Callable[[dict[str, Any]], dict[str, Any]]] = [dict]


def guard_with(guard: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Let every payload pass here before it is sealed: what must never stand in the log is taken out there,
    whoever wrote it. Said once, when the process starts.
    """
    _guard[0] = guard


def append(
    *,
    kind: str,
    body: Mapping[str, Any],
    actor: str,
    session: Session | None = None,
    action: str | None = None,
    subject: str = "",
    title: str = "",
    text: str = "",
    attributes: Mapping[str, Any] | None = None,
) -> Entry:
    """Append one event to the log.

    In: what happened (`kind`, `body`), who did it (`actor`, an id and never a person's name, since headers
    are not erasable), the data subject whose key seals the payload (default: whom the session serves, else
    its agent, else the site); `title`, `text` and `attributes` are what search shows of it.
    Locks the session's row until commit; on commit publishes on "session:<id>" and "traces".
    Raises TransactionManagementError outside a transaction, Invalid, TooLarge, NotFound (no such session).
    """
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("record.append needs the transaction of what it records")
    _check(kind=kind, actor=actor, action=action)
    payload = _guard[0]({"body": body, "title": title, "text": text, "attributes": attributes or {}})
    encoded = seal.encode(payload)
    chain = _lock(session)
    key, secret = _subject_key(clean.storable(subject) or _subject_of(session))
    entry = _entry(kind, actor, action, session, chain, key)
    entry_key = seal.entry_key(secret, str(entry.uuid))
    entry.header = header_of(entry, prev=chain[1] if chain else None, payload=commitment(entry_key, encoded))
    entry.sealed = seal.seal(encoded, key=entry_key, header=entry.header)
    entry.leaf_hash = leaf_hash(entry.header, entry.sealed)
    _store(entry, session, payload)
    return entry


def open_payload(entry: Entry) -> dict[str, Any] | Erased:
    """The body that was appended, or that it is erased (falsy). Raises seal.Tampered where it was altered."""
    payload = open_whole(entry)
    if isinstance(payload, Erased):
        return payload
    body: dict[str, Any] = payload["body"]
    return body


def as_sealed(entry: Entry | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and body as they were sealed; nothing of an entry that is not there, altered or erased. For
    checks that hold rows against the log: what cannot be read says nothing for anybody.
    """
    if entry is None:
        return {}, {}
    try:
        body = open_payload(entry)
        header = json.loads(bytes(entry.header))
    except (seal.Tampered, ValueError):
        return {}, {}
    return ({}, {}) if isinstance(body, Erased) or not isinstance(header, dict) else (header, body)


def open_whole(entry: Entry) -> dict[str, Any] | Erased:
    """Body, title, text and attributes, as `append` took them."""
    secret = open_key(entry)
    if isinstance(secret, Erased):
        return secret
    header = bytes(entry.header)
    payload: dict[str, Any] = json.loads(seal.unseal(bytes(entry.sealed), key=secret, header=header))
    return payload


def open_key(entry: Entry) -> bytes | Erased:
    """The key of this one entry, for an evidence bundle."""
    key = entry.subject_key
    if key.wrapped is None:
        return Erased(key=key.id, at=key.erased_at)
    return seal.entry_key(seal.unwrap(bytes(key.wrapped), str(key.id)), str(entry.uuid))


@transaction.atomic
def open_session(*, agent_id: str, agent_name: str, actor: str, team: str = "", purpose: str = "",
                 user: str = "", external_id: str = "", parent: Session | None = None,
                 labels: Iterable[str] = (), attested: bool = False,
                 tools: Iterable[str] = ()) -> Session:  # fmt: skip
    """Open a session and append `session.opened`. Who may attest or start with clean labels is the
    caller's judgement. Raises Invalid for a malformed label, or a name too long to keep.
    """
    if max(len(agent_name), len(external_id)) > MAX_NAME:
        raise problems.Invalid(f"A name has at most {MAX_NAME} characters.")
    purpose, user, external_id = (clean.storable(text) for text in (purpose, user, external_id))
    session = Session.objects.create(
        agent_id=agent_id, agent_name=agent_name, team=team, purpose=purpose, user=user,
        external_id=external_id, parent=parent, labels=sorted(_labels(labels)), attested=attested,
        tools=list(tools),
    )  # fmt: skip
    body = {
        "agent": agent_id, "agent_name": agent_name, "team": team, "purpose": purpose, "user": user,
        "external_id": external_id, "parent": parent and str(parent.pk), "labels": session.labels,
        "attested": attested, "tools": session.tools,
    }  # fmt: skip
    append(kind="session.opened", body=body, actor=actor, session=session, title=purpose or agent_name)
    return session


@transaction.atomic
def add_labels(*, session: Session, labels: Iterable[str], why: str, actor: str) -> list[str]:
    """Add labels to a session; they only grow. Locks the session, appends `session.labelled` if one is new,
    and returns all its labels. Raises Invalid, NotFound.
    """
    wanted = _labels(labels)
    had = _locked_labels(session)
    new = sorted(wanted - had)
    if new:
        session.labels = sorted(had | wanted)
        Session.objects.filter(pk=session.pk).update(labels=session.labels)
        append(kind="session.labelled", body={"labels": new, "why": why}, actor=actor, session=session,
               title=f"labelled {', '.join(new)}", text=why, attributes={"labels": new})  # fmt: skip
    return list(session.labels)


@transaction.atomic
def clear_label(*, session: Session, label: str, why: str, actor: str) -> list[str]:
    """Take one label off a session: a person's decision. Locks the session, appends `session.cleared` and
    returns the labels that are left. Raises Invalid without a reason, Conflict where the label is not there.
    """
    if not why.strip():
        raise problems.Invalid("Clearing a label needs a reason.")
    had = _locked_labels(session)
    if label not in had:
        raise problems.Conflict(f"The session does not carry the label {label}.", labels=sorted(had))
    session.labels = sorted(had - {label})
    Session.objects.filter(pk=session.pk).update(labels=session.labels)
    append(kind="session.cleared", body={"label": label, "why": why}, actor=actor, session=session,
           title=f"cleared {label}", text=why, attributes={"label": label})  # fmt: skip
    return list(session.labels)


@transaction.atomic
def erase_subject(*, subject: str, actor: str) -> Entry:
    """Make every payload about a data subject unreadable for ever.

    Locks the subject's sessions, then its keys, which waits for entries being written about it. Purges the
    spans and the personal columns of its sessions, and appends `subject.erased`, which names keys and never
    the person. Raises NotFound where there is nothing to erase, Invalid for the site's own key.
    """
    subject = clean.storable(subject)
    if subject == SITE:
        raise problems.Invalid("The site's own events are about no person and cannot be erased.")
    sessions = _lock_sessions(subject)
    keys = list(
        SubjectKey.objects.live().select_for_update().filter(subject=subject).values_list("pk", flat=True)
    )
    if not keys and not sessions:
        raise problems.NotFound("There is nothing about this subject.")
    spans = _forget(keys)
    Session.objects.filter(pk__in=sessions).update(user="", purpose="", external_id="")
    body = {"keys": [str(key) for key in keys], "sessions": [str(pk) for pk in sessions], "spans": spans}
    return append(kind=ERASED, body=body, actor=actor, title="A data subject was erased")


def replay_erasures() -> int:
    """Erase again, after a restore from an older backup, what the log says was erased; how many keys."""
    erased = 0
    for entry in Entry.objects.filter(kind=ERASED).select_related("subject_key").order_by("id").iterator():
        erased += _replay(entry)
    return erased


def _check(*, kind: str, actor: str, action: str | None) -> None:
    if not _KIND.fullmatch(kind):
        raise problems.Invalid(f"{kind!r} is not a kind of event.")
    if not _ACTOR.fullmatch(actor):
        raise problems.Invalid("An actor is 1 to 200 printable characters.")
    if action is not None and not _ACTION.fullmatch(action):
        raise problems.Invalid("An action's id is 1 to 64 visible ASCII characters.")


def _labels(labels: Iterable[str]) -> set[str]:
    found = set(labels)
    for label in found:
        if not _LABEL.fullmatch(label):
            raise problems.Invalid(f"{label!r} is not a label.")
    return found


def _locked_labels(session: Session) -> set[str]:
    _lock(session)
    return set(session.labels)


def _lock(session: Session | None) -> tuple[int, bytes] | None:
    """Take the session's row lock and bring the caller's object up to date; the end of its chain.

    FOR NO KEY UPDATE: the foreign keys of other sessions' rows may still look at the row.
    """
    if session is None:
        return None
    row = (
        Session.objects.select_for_update(no_key=True)
        .filter(pk=session.pk)
        .values("seq", "head", "labels")
        .first()
    )
    if row is None:
        raise problems.NotFound("There is no such session.")
    session.seq, session.head, session.labels = row["seq"], bytes(row["head"]), row["labels"]
    return session.seq, bytes(session.head)


def _subject_of(session: Session | None) -> str:
    if session is None:
        return SITE
    return session.user or f"agent:{session.agent_id}"


def _subject_key(subject: str) -> tuple[SubjectKey, bytes]:
    """The subject's live key, made if there is none, and share-locked: an erasure waits for this
    transaction, so that it purges this entry's span too.
    """
    query = "SELECT id, wrapped FROM traces_subjectkey WHERE subject = %s AND wrapped IS NOT NULL FOR SHARE"
    for _attempt in range(3):
        found = SubjectKey.objects.raw(query, [subject])
        for key in found:
            return key, seal.unwrap(bytes(key.wrapped or b""), str(key.id))
        identity = uuid7()
        SubjectKey.objects.bulk_create(
            [SubjectKey(id=identity, subject=subject, wrapped=seal.new_subject_key(str(identity)))],
            ignore_conflicts=True,
        )
    raise problems.Unavailable("The subject's key is being erased; try again.")


def _entry(kind: str, actor: str, action: str | None, session: Session | None,
           chain: tuple[int, bytes] | None, key: SubjectKey) -> Entry:  # fmt: skip
    return Entry(
        uuid=uuid7(), session=session, seq=chain[0] + 1 if chain else None, kind=kind, action_id=action,
        actor=actor, at=dbtime.now(), subject_key=key,
    )  # fmt: skip


def header_of(entry: Entry, *, prev: bytes | None, payload: str) -> bytes:
    """The canonical header (RFC 8785): what the tree commits to beside the sealed payload."""
    return rfc8785.dumps(
        {
            "v": HEADER_VERSION,
            "id": str(entry.uuid),
            "kind": entry.kind,
            "at": entry.at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "session": str(entry.session_id) if entry.session_id else None,
            "seq": entry.seq,
            "prev": None if prev is None else prev.hex(),
            "actor": entry.actor,
            "action": entry.action_id,
            "key": str(entry.subject_key_id),
            "payload": payload,
        }
    )


def _store(entry: Entry, session: Session | None, payload: Mapping[str, Any]) -> None:
    entry.save(force_insert=True)
    Outbox(entry=entry).save(force_insert=True)
    search.project(entry, session=session, payload=payload)
    message = {"type": "entry", "entry": str(entry.uuid), "kind": entry.kind, "action": entry.action_id}
    topics = ["traces"]
    if session is not None:
        session.seq, session.head, session.last_at = entry.seq or 0, entry.leaf_hash, entry.at
        Session.objects.filter(pk=session.pk).update(
            seq=session.seq, head=session.head, last_at=session.last_at
        )
        message["session"] = str(session.pk)
        topics.append(f"session:{session.pk}")
    live.publish_all(topics, message)


@transaction.atomic
def _replay(entry: Entry) -> int:
    body = open_payload(entry)
    if isinstance(body, Erased):
        raise problems.Gone(f"Entry {entry.uuid} tells what was erased and cannot be read.")
    Session.objects.filter(pk__in=body["sessions"]).update(user="", purpose="", external_id="")
    live = SubjectKey.objects.live().select_for_update().filter(pk__in=body["keys"])
    keys = list(live.values_list("pk", flat=True))
    _forget(keys)
    return len(keys)


def _lock_sessions(subject: str) -> list[uuid.UUID]:
    locked = Session.objects.select_for_update(no_key=True).serving(subject).order_by("pk")
    return list(locked.values_list("pk", flat=True))


def _forget(keys: Sequence[uuid.UUID]) -> int:
    SubjectKey.objects.filter(pk__in=keys).update(wrapped=None, erased_at=dbtime.now(), subject="")
    return Span.objects.filter(entry__subject_key__in=list(keys)).delete()[0]
