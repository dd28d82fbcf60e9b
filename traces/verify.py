"""Verify an evidence bundle of agentsec offline: `python3 verify.pyz BUNDLE --key PUBKEY [--state FILE]`.

It needs nothing but Python 3.11 and the modules that it imports; `tool` packs them into one file. Take that
and the public key from a source that you trust, not from the bundle that you doubt.

Sources: Merkle trees RFC 6962 §2.1, checkpoints C2SP tlog-checkpoint and signed-note. A payload is proved by
the commitment in its header, HMAC-SHA-256 under the entry's own key.
"""

from __future__ import annotations

import argparse
import base64
import functools
import hashlib
import hmac
import json
import sys
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from traces import signed
from traces.passkeys import Passkey
from traces.signatures import Invalid, valid_ed25519

ALGORITHM_ED25519 = 1
RECEIPT = "bundle.exported"
PROOFS = {"checkpoint", "consistency.json", "receipt.json"}  # proved by themselves
MAX_FILE = 256 * 1024 * 1024
HEADER = {"v", "id", "kind", "at", "session", "seq", "prev", "actor", "action", "key", "payload"}
RECORD = {"index", "proof", "header", "sealed", "key", "payload"}
MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)
Files = Mapping[str, bytes]
Hashes = Sequence[bytes]
Signature = Callable[[bytes, bytes, bytes], bool]
unbase64 = functools.partial(base64.b64decode, validate=True)


@dataclass(frozen=True)
class Finding:
    """Something that is wrong: what kind of change, which entry it hit (a UUID, or ""), and how it shows."""

    kind: str  # edited | deleted | inserted | reordered | truncated | forked | unsigned | forged
    entry: str
    why: str

    def __str__(self) -> str:
        line = f"{self.kind.upper()}{' entry ' + self.entry if self.entry else ''}: {self.why}"
        return "".join(character if character.isprintable() else "?" for character in line)


def leaf_hash(header: bytes, sealed: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + header + hashlib.sha256(sealed).digest()).digest()


def commitment(entry_key: bytes, payload: bytes) -> str:
    """What a header says about its payload's JSON bytes."""
    return hmac.digest(entry_key, b"agentsec/payload/v1\n" + payload, "sha256").hex()


def split(size: int) -> int:
    """Where RFC 6962 divides a tree: the largest power of two below its size."""
    return 1 << (size - 1).bit_length() - 1


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def verify_inclusion(*, index: int, size: int, leaf: bytes, proof: Hashes, root: bytes) -> None:
    """The leaf stands at `index` of the tree with this root. Raises Invalid."""
    if not 0 <= index < size or not hmac.compare_digest(_climb(index, size, leaf, list(proof)), root):
        raise Invalid(f"its bytes are not those that stand at index {index} of the log of {size}")


def _climb(index: int, size: int, leaf: bytes, proof: list[bytes]) -> bytes:
    if size == 1 or not proof:
        return leaf if size == 1 and not proof else b""
    sibling, middle = proof.pop(), split(size)
    if index < middle:
        return node_hash(_climb(index, middle, leaf, proof), sibling)
    return node_hash(sibling, _climb(index - middle, size - middle, leaf, proof))


def verify_consistency(*, old: int, old_root: bytes, new: int, new_root: bytes, proof: Hashes) -> None:
    """The tree of `old` leaves is the beginning of the tree of `new`. Raises Invalid."""
    rest = list(proof)
    before, after = _rejoin(old, new, old_root, rest) if 0 < old <= new else (b"", b"")
    if rest or not (hmac.compare_digest(before, old_root) and hmac.compare_digest(after, new_root)):
        raise Invalid(f"the log of size {new} does not begin with the log of size {old}")


def _rejoin(old: int, new: int, known: bytes, proof: list[bytes]) -> tuple[bytes, bytes]:
    """Both roots from the proof; `known` is the old root while that is a whole left side."""
    if old == new or not proof:
        root = known or (proof.pop() if proof else b"")
        return (root, root) if old == new else (b"", b"")
    sibling, middle = proof.pop(), split(new)
    if old <= middle:
        before, after = _rejoin(old, middle, known, proof)
        return before, node_hash(after, sibling)
    before, after = _rejoin(old - middle, new - middle, b"", proof)
    return node_hash(sibling, before), node_hash(sibling, after)


def key_hash(name: str, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + bytes([ALGORITHM_ED25519]) + public).digest()[:4]


@dataclass(frozen=True)
class VerifierKey:
    """The log's name and public key."""

    name: str
    public: bytes

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """From `name+hash+data`. Raises Invalid."""
        name, _, rest = text.strip().partition("+")
        fingerprint, _, data = rest.partition("+")
        raw = unbase64(data)
        if len(raw) != 33 or raw[0] != ALGORITHM_ED25519 or key_hash(name, raw[1:]).hex() != fingerprint:
            raise Invalid("this is not an Ed25519 verifier key (name+hash+data)")
        return cls(name=name, public=raw[1:])


@dataclass(frozen=True)
class Checkpoint:
    """A signed size and root."""

    origin: str
    size: int
    root: bytes


def open_checkpoint(note: str, key: VerifierKey, valid: Signature | None = None) -> Checkpoint:
    """The checkpoint in a note that this key has signed; other signatures (witnesses) are left alone.

    In: `valid`, a faster check of Ed25519 than the one below. Raises Invalid.
    """
    body, separator, signatures = note.rpartition("\n\n")
    lines = body.split("\n")
    if not separator or len(lines) < 3 or lines[0] != key.name:
        raise Invalid(f"this is no checkpoint of {key.name}")
    size, root = lines[1], unbase64(lines[2])
    if not (size.isascii() and size.isdigit() and str(int(size)) == size and len(root) == 32):
        raise Invalid("the checkpoint's size or root is malformed")
    for line in signatures.splitlines():
        name, _, data = line.removeprefix("— ").partition(" ")
        raw = unbase64(data) if name == key.name else b""
        if raw[:4] == key_hash(key.name, key.public):
            if not (valid or valid_ed25519)(key.public, f"{body}\n".encode(), raw[4:]):
                raise Invalid("the checkpoint's signature is wrong")
            return Checkpoint(origin=lines[0], size=int(size), root=root)
    raise Invalid(f"no signature by {key.name} with the pinned key")


@dataclass(frozen=True)
class Record:
    """One entry of a bundle, proved: its header's fields, leaf hash, index, and payload if disclosed."""

    meta: Mapping[str, Any]
    leaf: bytes
    index: int
    payload: str | None


@dataclass
class Report:
    """What was found wrong, and what was proved; `size` and `root` are of the bundle's checkpoint."""

    findings: list[Finding] = field(default_factory=list)
    entries: int = 0
    opened: int = 0
    size: int = 0
    root: bytes = b""

    def add(self, kind: str, entry: str, why: str) -> None:
        self.findings.append(Finding(kind, entry, why))

    def attempt(self, kind: str, entry: str, check: Callable[[], Any]) -> Any:
        """The check's answer; what it raises becomes a finding and None."""
        try:
            return check()
        except MALFORMED as error:
            self.add(kind, entry, str(error) if isinstance(error, Invalid) else f"malformed: {error!r}")
            return None


def parse_header(header: bytes) -> dict[str, Any]:
    """The header's fields. Raises Invalid unless they are ours and their bytes canonical (RFC 8785)."""
    meta = json.loads(header)
    canonical = json.dumps(meta, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    if canonical != header or set(meta) != HEADER or meta["v"] != 1:
        raise Invalid("its header is not a canonical one of version 1")
    return dict(meta)


def read_record(raw: bytes, checkpoint: Checkpoint) -> Record:
    """The entry, once the tree and its payload's commitment hold. Raises Invalid."""
    data = json.loads(raw)
    if set(data) != RECORD or (data["key"] is None) != (data["payload"] is None):
        raise Invalid("its file has other fields than it should")
    header, index, payload = unbase64(data["header"]), data["index"], data["payload"]
    meta, leaf = parse_header(header), leaf_hash(header, unbase64(data["sealed"]))
    proof = [unbase64(item) for item in data["proof"]]
    verify_inclusion(index=index, size=checkpoint.size, leaf=leaf, proof=proof, root=checkpoint.root)
    if payload is not None and commitment(unbase64(data["key"]), payload.encode()) != meta["payload"]:
        raise Invalid("its payload is not the one that was sealed")
    return Record(meta=meta, leaf=leaf, index=index, payload=payload)


def check_bundle(
    files: Files, key: VerifierKey, seen: Mapping[int, bytes], pins: signed.Pins = None
) -> Report:
    """Check a bundle's files against the pinned key and the checkpoints (size → root) seen before.

    In: `pins`, the passkeys that people are known to have (None: those that the log registered).
    """
    report = Report()
    checkpoint = report.attempt("unsigned", "", lambda: open_checkpoint(files["checkpoint"].decode(), key))
    if checkpoint is None:
        return report
    report.size, report.root = checkpoint.size, checkpoint.root
    report.attempt("forked", "", lambda: check_memory(files, checkpoint, seen))
    listed = report.attempt("edited", "", lambda: listing(read_record(files["receipt.json"], checkpoint)))
    if listed is None:
        return report
    records = check_entries(report, files, checkpoint, dict(listed["entries"]))
    report.attempt("edited", "", lambda: check_chains(report, records, listed["sessions"]))
    for forged in report.attempt("edited", "", lambda: signed.forgeries(records, pins)) or ():
        report.add("forged", forged.entry, forged.why)
    exported = listed["files"]
    for name in sorted(name for name in {*files, *exported} - PROOFS if not name.startswith("entries/")):
        if name not in files or name not in exported:
            report.add("inserted" if name in files else "deleted", "", f"the file {name}")
        elif hashlib.sha256(files[name]).hexdigest() != exported[name]:
            report.add("edited", "", f"the file {name} is not the one that was exported")
    return report


def listing(receipt: Record) -> dict[str, Any]:
    """What the log itself says was exported: the receipt is one of its entries."""
    if receipt.meta["kind"] != RECEIPT or receipt.payload is None:
        raise Invalid("the bundle's receipt is not one")
    body = json.loads(receipt.payload)["body"]
    return {part: dict(body[part]) for part in ("entries", "sessions", "files")}


def check_entries(report: Report, files: Files, signed: Checkpoint, listed: dict[str, str]) -> list[Record]:
    records = []
    for name in sorted(name for name in files if name.startswith("entries/")):
        entry = entry_of(name)
        record = report.attempt("edited", entry, functools.partial(read_record, files[name], signed))
        if entry not in listed:
            report.add("inserted", entry, "it was not exported")
        elif record and (record.meta["id"], record.leaf.hex()) != (entry, listed[entry]):
            report.add("edited", entry, f"another entry, {record.meta['id']}, stands in its place")
        elif record:
            records.append(record)
    for entry in listed:
        if f"entries/{entry}.json" not in files:
            report.add("deleted", entry, "it was exported and is missing")
    report.entries, report.opened = len(records), sum(record.payload is not None for record in records)
    return records


def check_chains(report: Report, records: Sequence[Record], complete: Mapping[str, int]) -> None:
    """In a session each entry names the hash of the one before; a complete session lacks none."""
    sessions: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.meta["session"] is not None:
            sessions[record.meta["session"]].append(record)
    for session, last in complete.items():
        for number in sorted({*range(1, last + 1)} - {record.meta["seq"] for record in sessions[session]}):
            report.add("deleted", "", f"number {number} of session {session}")
    for chain in sessions.values():
        for before, after in pairwise(sorted(chain, key=lambda link: int(link.meta["seq"]))):
            step, names = after.meta["seq"] - before.meta["seq"], (after.meta["id"], before.meta["id"])
            if after.index < before.index:
                report.add("reordered", names[0], f"it stands before {names[1]}")
            elif step == 0 or (step == 1 and after.meta["prev"] != before.leaf.hex()):
                report.add("forked", names[0], f"it does not follow {names[1]}")


def check_memory(files: Files, checkpoint: Checkpoint, seen: Mapping[int, bytes]) -> None:
    """The log continues what was seen before. Raises Invalid."""
    last, size, root = max(seen, default=0), checkpoint.size, checkpoint.root
    if not last or seen.get(size) == root:
        return
    if size < last:
        raise Invalid(f"{size} entries, but {last} were seen before: cut back, or an older bundle")
    proof = [] if size == last else json.loads(files["consistency.json"]).get(str(last))
    if proof is None:
        raise Invalid(f"nothing proves that it continues the log of {last} seen before: export since {last}")
    known = [unbase64(item) for item in proof]
    verify_consistency(old=last, old_root=seen[last], new=size, new_root=root, proof=known)


def entry_of(name: str) -> str:
    return name.removeprefix("entries/").removesuffix(".json") if name.startswith("entries/") else ""


def read_bundle(path: Path, report: Report) -> dict[str, bytes]:
    """The bundle's files; what cannot be read is a finding."""
    files: dict[str, bytes] = {}
    with zipfile.ZipFile(path) as bundle:
        for info in bundle.infolist():
            name, entry = info.filename, entry_of(info.filename)
            if name in files or info.file_size > MAX_FILE:
                report.add("inserted", entry, f"the file {name} is there twice, or too large")
                continue
            files[name] = b""
            try:
                files[name] = bundle.read(info)
            except (zipfile.BadZipFile, zlib.error, OSError, ValueError, RuntimeError, EOFError) as error:
                report.add("edited", entry, f"the file {name} is damaged: {error}")
    return files


def read_pins(path: Path) -> list[Passkey]:
    """A JSON list of passkeys: {user, credential, key, rp_id}, as `manage.py passkeys` writes it."""
    return [Passkey.read(item) for item in json.loads(path.read_text())]


def remember(path: Path, state: dict[str, dict[str, str]]) -> None:
    (draft := path.with_name(path.name + ".new")).write_text(json.dumps(state, indent=1))
    draft.replace(path)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Verify an evidence bundle of agentsec, offline.")
    parser.add_argument("bundle", type=Path, help="the exported .zip file")
    parser.add_argument("--key", required=True, help="the log's public key, or a file with it")
    parser.add_argument("--state", type=Path, help="a file that remembers the checkpoints seen")
    parser.add_argument("--passkeys", type=Path, help="a file with the passkeys that people really have")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """0: everything holds; 1: something does not; 2: it cannot be checked."""
    wish = arguments(argv)
    try:
        key = VerifierKey.parse(Path(wish.key).read_text() if "+" not in wish.key else wish.key)
        state = json.loads(wish.state.read_text()) if wish.state and wish.state.exists() else {}
        seen = {int(size): bytes.fromhex(root) for size, root in state.get(key.name, {}).items()}
        pins = read_pins(wish.passkeys) if wish.passkeys else None
        files = read_bundle(wish.bundle, unread := Report())
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        print(f"cannot verify: {error}", file=sys.stderr)
        return 2
    report = check_bundle(files, key, seen, pins)
    if findings := [*unread.findings, *report.findings]:
        print(*findings, sep="\n")
        print(f"NOT VERIFIED: {len(findings)} finding(s) in {wish.bundle}")
        return 1
    if wish.state is not None:
        state.setdefault(key.name, {})[str(report.size)] = report.root.hex()
        remember(wish.state, state)
    print(f"VERIFIED: {report.entries} entries, {report.opened} open, in {key.name} of {report.size} entries")
    return 0


if __name__ == "__main__":
    sys.exit(main())
