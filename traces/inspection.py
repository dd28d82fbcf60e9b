"""Check one entry or one session on the spot, and say each step and what came of it.

This is the same arithmetic that `verify.pyz` does offline; there it needs no trust in this server.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from traces import explore, keys, problems, proofs, record, seal, verify
from traces.models import Checkpoint, Entry, Session

SESSION_LIMIT = 1_000


@dataclass(frozen=True)
class Step:
    """One check: `outcome` is passed, failed or waiting (not under a checkpoint yet)."""

    name: str
    outcome: str
    detail: str


@dataclass(frozen=True)
class Report:
    """What became of an entry's or a session's checks."""

    steps: tuple[Step, ...]
    checkpoint: str = ""
    key: str = ""

    @property
    def outcome(self) -> str:
        outcomes = {step.outcome for step in self.steps}
        return next((word for word in ("failed", "waiting") if word in outcomes), "passed")


def check_entry(entry: Entry) -> Report:
    """Every step from the entry's bytes to the newest signed checkpoint."""
    signed = _Signed.newest()
    steps = (*_bytes(entry), _link(entry, _before(entry)), _inclusion(entry, signed), signed.step)
    return Report(steps, signed.row.note if signed.row else "", keys.verifier_key())


def check_session(session: Session) -> Report:
    """The same for each entry of a session, and that its chain has no gap; each failure names its entry.

    Raises Invalid for a session beyond 1,000 entries: the offline verifier takes those.
    """
    entries = list(explore.with_proof(Entry.objects.of_session(session.pk))[: SESSION_LIMIT + 1])
    if len(entries) > SESSION_LIMIT:
        raise problems.Invalid(f"It has over {SESSION_LIMIT} entries: export it and verify it offline.")
    signed = _Signed.newest()
    checks = [
        [*_bytes(entry), _link(entry, before), _inclusion(entry, signed)]
        for before, entry in zip([None, *entries], entries, strict=False)
    ]
    steps = (_whole(session, entries), *_together(entries, checks), signed.step)
    return Report(steps, signed.row.note if signed.row else "", keys.verifier_key())


@dataclass(frozen=True)
class _Signed:
    """The newest checkpoint, opened with the log's public key, and what came of that."""

    row: Checkpoint | None
    opened: verify.Checkpoint | None
    step: Step

    @classmethod
    def newest(cls) -> _Signed:
        name, row = "The log's key has signed the checkpoint", Checkpoint.objects.newest()
        if row is None:
            return cls(None, None, Step(name, "waiting", "there is no checkpoint yet"))
        try:
            opened = verify.open_checkpoint(row.note, verify.VerifierKey.parse(keys.verifier_key()))
        except verify.Invalid as error:
            return cls(row, None, _failed(name, str(error)))
        told = f"{opened.origin}, {opened.size} entries, root {opened.root.hex()}"
        return cls(row, opened, _passed(name, told))


def _together(entries: Sequence[Entry], checks: Sequence[Sequence[Step]]) -> Iterator[Step]:
    """One step for each kind of check where all passed, and one for each that did not."""
    for steps in zip(*checks, strict=True):
        bad = [(entry, step) for entry, step in zip(entries, steps, strict=True) if step.outcome == "failed"]
        waiting = sum(step.outcome == "waiting" for step in steps)
        for entry, step in bad:
            yield _failed(step.name, f"entry {entry.seq} ({entry.uuid}): {step.detail}")
        if waiting:
            yield Step(steps[0].name, "waiting", f"{waiting} of {len(steps)} entries wait for a checkpoint")
        elif not bad:
            yield _passed(steps[0].name, f"all {len(steps)} entries")


def _whole(session: Session, entries: Sequence[Entry]) -> Step:
    name = "The session's chain is whole"
    head = bytes(entries[-1].leaf_hash) if entries else b""
    if [entry.seq for entry in entries] != list(range(1, session.seq + 1)):
        return _failed(name, f"the session counts {session.seq} entries, {len(entries)} are here")
    if head != bytes(session.head):
        return _failed(name, "the last entry is not the one that the session ends in")
    return _passed(name, f"entries 1 to {session.seq}, none missing")


def _passed(name: str, detail: str) -> Step:
    return Step(name, "passed", detail)


def _failed(name: str, detail: str) -> Step:
    return Step(name, "failed", detail)


def _bytes(entry: Entry) -> tuple[Step, Step, Step]:
    return _columns(entry), _leaf(entry), _payload(entry)


def _header(entry: Entry) -> dict[str, Any]:
    """Raises ValueError where the bytes are no JSON object."""
    header = json.loads(bytes(entry.header))
    if not isinstance(header, dict):
        raise ValueError("the header is no object")
    return header


def _columns(entry: Entry) -> Step:
    name = "The columns say what the header says"
    try:
        header = _header(entry)
        prev = None if header["prev"] is None else bytes.fromhex(header["prev"])
        same = record.header_of(entry, prev=prev, payload=header["payload"]) == bytes(entry.header)
    except (ValueError, KeyError, TypeError) as error:
        return _failed(name, f"the header cannot be read: {error}")
    return _passed(name, f"{len(entry.header)} bytes of header") if same else _failed(name, "they differ")


def _leaf(entry: Entry) -> Step:
    name = "The leaf hash follows from the bytes"
    computed = verify.leaf_hash(bytes(entry.header), bytes(entry.sealed))
    if hmac.compare_digest(computed, bytes(entry.leaf_hash)):
        return _passed(name, f"SHA-256(0x00 ‖ header ‖ SHA-256(sealed payload)) = {computed.hex()}")
    return _failed(name, f"computed {computed.hex()}, stored {bytes(entry.leaf_hash).hex()}")


def _before(entry: Entry) -> Entry | None:
    if entry.session_id is None or entry.seq is None:
        return None
    return Entry.objects.of_session(entry.session_id).filter(seq=entry.seq - 1).first()


def _link(entry: Entry, before: Entry | None) -> Step:
    name = "It follows on the entry before it in its session"
    if entry.seq is None:
        return _passed(name, "it belongs to no session")
    if entry.seq > 1 and (before is None or before.seq != entry.seq - 1):
        return _failed(name, f"entry {entry.seq - 1} of the session is missing")
    wanted = bytes(before.leaf_hash).hex() if before else ""
    try:
        named = _header(entry)["prev"]
    except (ValueError, KeyError) as error:
        return _failed(name, f"the header cannot be read: {error}")
    if named == wanted:
        return _passed(name, f"entry {entry.seq} of its session, after {wanted or 'nothing'}")
    return _failed(name, f"it names another predecessor than entry {entry.seq - 1}")


def _payload(entry: Entry) -> Step:
    name = "The payload opens and is the one that was sealed"
    try:
        opened = record.open_whole(entry)
    except seal.Tampered as error:
        return _failed(name, str(error))
    if isinstance(opened, record.Erased):
        return _passed(name, "its key was erased, so nobody can read it; its hash still stands in the log")
    return _passed(name, f"{len(entry.sealed)} sealed bytes")


def _inclusion(entry: Entry, signed: _Signed) -> Step:
    name = "The inclusion proof leads from the leaf to the signed root"
    if signed.row is None:
        return Step(name, "waiting", "there is no checkpoint yet")
    if signed.opened is None:
        return _failed(name, "there is no root to lead to: the checkpoint's signature does not hold")
    try:
        proof = proofs.inclusion(entry.pk, checkpoint=signed.row)
        leaf = verify.leaf_hash(bytes(entry.header), bytes(entry.sealed))
        size, root = signed.opened.size, signed.opened.root
        verify.verify_inclusion(index=proof.index, size=size, leaf=leaf, proof=proof.hashes, root=root)
    except problems.NotFound as refused:
        return Step(name, "waiting", refused.detail)
    except problems.Unavailable as refused:
        return _failed(name, refused.detail)
    except verify.Invalid as error:
        return _failed(name, str(error))
    return _passed(name, f"index {proof.index} of {size}, {len(proof.hashes)} hashes")
