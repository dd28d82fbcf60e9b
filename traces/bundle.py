"""Evidence bundles: some entries, opened, with everything that proves them offline.

A zip file. `entries/<uuid>.json` are header, sealed payload, the entry's own key, the opened payload and the
inclusion proof; `receipt.json` is the entry that this export itself left in the log, and lists the entries
and the digests of all other files, so that nothing can be taken out or put in; `checkpoint`, `log.pub`,
`consistency.json` (from the checkpoints of earlier bundles) and `verify.pyz`; `summary.json` is for people.
With an approval that a passkey signed goes the entry by which that passkey was registered.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import uuid
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db import connection, transaction
from django.db.models import OuterRef, Subquery, Sum
from django.db.models.functions import Length
from django.utils import timezone

from traces import keys, problems, proofs, record, seal, signed, tool, verify
from traces.models import Checkpoint, Entry, EntryQuerySet, Leaf, Session

WAIT_SECONDS = 10.0
MAX_ENTRIES = 20_000
# What is opened is held in memory, several times; a session's own agent decides how long its texts are.
MAX_SEALED, MAX_OPENED = 64 << 20, 128 << 20
MAX_REMEMBERED = 200

README = """An evidence bundle of agentsec.

summary.json is for reading. To check that nothing in here was changed, left out or put in:

    python3 verify.pyz BUNDLE.zip --key PUBKEY

Take verify.pyz and the public key from a source that you trust; the copies in here are for convenience.
"""


def export(
    ids: Iterable[str],
    *,
    actor: str = record.SITE,
    extra: Mapping[str, Any] | None = None,
    since: Iterable[int] = (),
) -> bytes:
    """The evidence about these sessions and actions, as the bytes of a zip file.

    In: ids of sessions (exported whole), of actions and of single entries; who asks; further files by
    name (bytes, text, or values written as JSON); sizes of checkpoints that the reader remembers. Appends
    `bundle.exported`, and waits until a checkpoint covers everything: not to be called inside a transaction.
    Raises NotFound, TooLarge, Invalid (a file's name), Unavailable (the log takes nothing in).
    """
    if connection.in_atomic_block:
        raise transaction.TransactionManagementError(
            "an export waits for the log, which waits for this commit"
        )
    asked = [str(item) for item in ids]
    entries, sessions = _chosen(asked)
    proofs.wait_covered([entry.pk for entry in entries], timeout=WAIT_SECONDS)
    files = _files(asked, actor, entries, extra or {})
    receipt = _receipt(asked, actor, entries, sessions, files)
    proofs.wait_covered([receipt.pk], timeout=WAIT_SECONDS)
    return _zip(files, entries, receipt, [*since, *_remembered()])


def _chosen(asked: Sequence[str]) -> tuple[list[Entry], dict[str, int]]:
    """The entries, in the order in which they were written, and how far each whole session goes."""
    chosen: dict[int, Entry] = {}
    sessions: dict[str, int] = {}
    for item in asked:
        whole = _whole_session(item)
        rows = whole if whole is not None else _about(item)
        found = list(rows.select_related("subject_key")[: MAX_ENTRIES + 1])
        if not found:
            raise problems.NotFound(f"The log has nothing about {item}.")
        if whole is not None:
            sessions[str(uuid.UUID(item))] = found[-1].seq or 0
        chosen.update({entry.pk: entry for entry in found})
    chosen.update({entry.pk: entry for entry in _passkeys(chosen.values())})
    if len(chosen) > MAX_ENTRIES:
        raise problems.TooLarge(f"A bundle holds at most {MAX_ENTRIES} entries.")
    return [chosen[pk] for pk in sorted(chosen)], sessions


def _passkeys(entries: Iterable[Entry]) -> list[Entry]:
    """The registrations of the passkeys that signed these votes, and the removals of those since."""
    votes = [_body(entry) for entry in entries if entry.kind == signed.VOTE]
    # Whoever forged an entry may have written anything there: what is no id is left to the verifier to name.
    found = [_identity(str(vote["signature"].get("passkey"))) for vote in votes if _is_signed(vote)]
    named = {identity for identity in found if identity is not None}
    if not named:
        return []
    added = Entry.objects.filter(kind=signed.ADDED, uuid__in=named)
    removed = Entry.objects.filter(kind=signed.REMOVED).select_related("subject_key")
    gone = [row for row in removed if _identity(str(_body(row).get("passkey"))) in named]
    return [*added.select_related("subject_key"), *gone]


def _is_signed(vote: Mapping[str, Any]) -> bool:
    return isinstance(vote.get("signature"), dict)


def _body(entry: Entry) -> dict[str, Any]:
    """The entry's body; nothing where it cannot be read."""
    payload = _opened(entry)[1]
    return dict(json.loads(payload)["body"]) if payload else {}


def refuse_too_much(entries: EntryQuerySet) -> None:
    """Raises TooLarge where these entries, sealed or opened, are more than a web process should hold."""
    sealed, opened = entries.order_by().aggregate(all=Sum(Length("sealed")))["all"] or 0, 0
    if sealed <= MAX_SEALED:
        for entry in entries.select_related("subject_key").iterator(chunk_size=8):
            opened += len(_opened(entry)[1] or "")
            if opened > MAX_OPENED:
                break
    if sealed > MAX_SEALED or opened > MAX_OPENED:
        raise problems.TooLarge("This session holds too much to be exported here: use `manage.py export`.")


def _about(item: str) -> EntryQuerySet:
    """An action's entries, or the one entry of this id, for what belongs to no action and no session."""
    rows, identity = Entry.objects.about(item), _identity(item)
    return rows if identity is None or rows.exists() else Entry.objects.filter(uuid=identity)


def _identity(item: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(item)
    except ValueError:
        return None


def _whole_session(item: str) -> Any:
    identity = _identity(item)
    if identity is None:
        return None
    return Entry.objects.of_session(identity) if Session.objects.filter(pk=identity).exists() else None


def _files(
    asked: Sequence[str], actor: str, entries: Sequence[Entry], extra: Mapping[str, Any]
) -> dict[str, bytes]:
    files = {
        "README.txt": README.encode(),
        "summary.json": _pretty(_summary(asked, actor, entries)),
        "log.pub": f"{keys.verifier_key()}\n".encode(),
        tool.NAME: tool.packed(),
    }
    for name, content in extra.items():
        if name in files or name in verify.PROOFS or name.startswith(("entries/", "/")) or ".." in name:
            raise problems.Invalid(f"A bundle cannot hold a further file named {name!r}.")
        files[name] = _content(content)
    return files


def _content(content: Any) -> bytes:
    if isinstance(content, bytes):
        return content
    return content.encode("utf-8", "backslashreplace") if isinstance(content, str) else _pretty(content)


def _pretty(value: Any) -> bytes:
    return json.dumps(value, indent=2, cls=seal.DjangoJSONEncoder).encode()


def _summary(asked: Sequence[str], actor: str, entries: Sequence[Entry]) -> dict[str, Any]:
    return {
        "about": list(asked),
        "exported_at": timezone.now(),
        "exported_by": actor,
        "entries": [_told(entry) for entry in entries],
    }


def _told(entry: Entry) -> dict[str, Any]:
    told = {
        "entry": entry.uuid, "at": entry.at, "kind": entry.kind, "actor": entry.actor,
        "action": entry.action_id, "session": entry.session_id, "number": entry.seq,
    }  # fmt: skip
    _key, payload = _opened(entry)
    if payload is None:
        return {**told, "payload": "cannot be read: erased, or altered"}
    opened = json.loads(payload)
    return {**told, "title": opened["title"], "text": opened["text"], "payload": opened["body"]}


def _opened(entry: Entry) -> tuple[bytes | None, str | None]:
    """The entry's key and its payload's JSON. An altered entry is still exported: the verifier names it."""
    try:
        key = record.open_key(entry)
        if isinstance(key, record.Erased):
            return None, None
        return key, seal.unseal(bytes(entry.sealed), key=key, header=bytes(entry.header)).decode()
    except seal.Tampered:
        return None, None


@transaction.atomic
def _receipt(
    asked: Sequence[str],
    actor: str,
    entries: Sequence[Entry],
    sessions: Mapping[str, int],
    files: Mapping[str, bytes],
) -> Entry:
    body = {
        "about": list(asked),
        "entries": {str(entry.uuid): bytes(entry.leaf_hash).hex() for entry in entries},
        "sessions": dict(sessions),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    return record.append(
        kind=verify.RECEIPT, body=body, actor=actor, subject=record.SITE,
        title=f"exported {len(entries)} entries as evidence",
    )  # fmt: skip


def _covering() -> Subquery:
    return Subquery(Checkpoint.objects.filter(size__gt=OuterRef("index")).order_by("size").values("size")[:1])


def _remembered() -> list[int]:
    """The checkpoints of earlier bundles, which whoever holds one may remember."""
    receipts = (
        Leaf.objects.filter(entry__span__kind=verify.RECEIPT).order_by("-index").annotate(at=_covering())
    )
    return [size for size in receipts.values_list("at", flat=True)[:MAX_REMEMBERED] if size]


def _zip(files: Mapping[str, bytes], entries: Sequence[Entry], receipt: Entry, since: Iterable[int]) -> bytes:
    checkpoint = Checkpoint.objects.get(size=Leaf.objects.annotate(at=_covering()).get(entry=receipt).at)
    content = {
        **files,
        **{f"entries/{entry.uuid}.json": _record(entry, checkpoint) for entry in entries},
        "receipt.json": _record(receipt, checkpoint),
        "checkpoint": checkpoint.note.encode(),
        "consistency.json": _pretty(_consistency(since, checkpoint.size)),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, data in content.items():
            bundle.writestr(name, data)
    return buffer.getvalue()


def _record(entry: Entry, checkpoint: Checkpoint) -> bytes:
    inclusion = proofs.inclusion(entry.pk, checkpoint=checkpoint)
    key, payload = _opened(entry)
    return _pretty(
        {
            "index": inclusion.index,
            "proof": [_base64(item) for item in inclusion.hashes],
            "header": _base64(entry.header),
            "sealed": _base64(entry.sealed),
            "key": None if key is None else _base64(key),
            "payload": payload,
        }
    )


def _consistency(since: Iterable[int], size: int) -> dict[str, list[str]]:
    wanted = sorted({old for old in since if 0 < old < size})
    return {str(old): [_base64(item) for item in proofs.consistency(old=old, new=size)] for old in wanted}


def _base64(data: Any) -> str:
    return base64.b64encode(bytes(data)).decode()
