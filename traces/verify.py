#!/usr/bin/env python3
"""Verify an evidence bundle of agentsec offline: `python3 verify.py BUNDLE --key PUBKEY [--state FILE]`.

This one file needs nothing but Python 3.11; it uses the `cryptography` package where that is installed.
Take it and the public key from a source you trust, not from the bundle that you doubt.

Sources: Merkle trees RFC 6962 and the verification algorithms of RFC 9162 §2.1, checkpoints C2SP
tlog-checkpoint and signed-note, Ed25519 RFC 8032 §5.1.7. A payload is proved by the commitment in its
header: HMAC-SHA-256 under the entry's own key, which hides it for ever once that key is erased.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import os
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    NATIVE = True
except ImportError:
    NATIVE = False

ALGORITHM_ED25519 = 1
RECEIPT = "bundle.exported"
PROOFS = {"checkpoint", "consistency.json", "receipt.json"}
MAX_FILE = 256 * 1024 * 1024
HEADER = {"v", "id", "kind", "at", "session", "seq", "prev", "actor", "action", "key", "payload"}
RECORD = {"index", "proof", "header", "sealed", "key", "payload"}


class Invalid(Exception):
    """Bytes that are not what they claim to be; the message says how."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong: what kind of change, which entry it hit (a UUID, or ""), and how it shows."""

    kind: str  # edited | deleted | inserted | reordered | truncated | forked | unproven | unsigned
    entry: str
    why: str

    def __str__(self) -> str:
        return f"{self.kind.upper()}{' entry ' + self.entry if self.entry else ''}: {self.why}"


# ---------------------------------------------------------------- the tree


def leaf_data(header: bytes, sealed: bytes) -> bytes:
    """What the tree commits to for one entry."""
    return header + hashlib.sha256(sealed).digest()


def leaf_hash(header: bytes, sealed: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + leaf_data(header, sealed)).digest()


def commitment(entry_key: bytes, payload: bytes) -> str:
    """What a header says about its payload's JSON bytes."""
    return hmac.digest(entry_key, b"agentsec/payload/v1\n" + payload, "sha256").hex()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def verify_inclusion(*, index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """The leaf stands at `index` of the tree with this root (RFC 9162 §2.1.3.2). Raises Invalid."""
    if not 0 <= index < size:
        raise Invalid(f"index {index} is outside a tree of {size}")
    position, last, computed = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise Invalid("the inclusion proof is too long")
        if position & 1 or position == last:
            computed = node_hash(sibling, computed)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            computed = node_hash(computed, sibling)
        position, last = position >> 1, last >> 1
    if last or not hmac.compare_digest(computed, root):
        raise Invalid(f"its bytes are not those that stand at index {index} of the log")


def verify_consistency(*, old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """The tree of `old` leaves is the beginning of the tree of `new` (RFC 9162 §2.1.4.2). Raises Invalid."""
    if not 0 < old <= new:
        raise Invalid(f"a tree of {old} cannot be the beginning of one of {new}")
    if old == new:
        if proof or not hmac.compare_digest(old_root, new_root):
            raise Invalid(f"two different trees of size {new}")
        return
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        raise Invalid("the consistency proof is empty")
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    before = after = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise Invalid("the consistency proof is too long")
        if position & 1 or position == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        position, last = position >> 1, last >> 1
    if last or not (hmac.compare_digest(before, old_root) and hmac.compare_digest(after, new_root)):
        raise Invalid(f"the log of size {new} does not begin with the log of size {old}")


# ---------------------------------------------------------------- the checkpoint


def unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Invalid(f"not base64: {error}") from None


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
        if not name or len(raw) != 33 or raw[0] != ALGORITHM_ED25519:
            raise Invalid("this is not an Ed25519 verifier key (name+hash+data)")
        if key_hash(name, raw[1:]).hex() != fingerprint:
            raise Invalid("the verifier key's name, hash and data do not belong together")
        return cls(name=name, public=raw[1:])


@dataclass(frozen=True)
class Checkpoint:
    """A signed size and root."""

    origin: str
    size: int
    root: bytes


def open_checkpoint(note: str, key: VerifierKey) -> Checkpoint:
    """The checkpoint in a note that this key has signed; other signatures (witnesses) are left alone.
    Raises Invalid.
    """
    body, separator, signatures = note.rpartition("\n\n")
    lines = body.split("\n")
    if not separator or len(lines) < 3 or lines[0] != key.name:
        raise Invalid(f"this is no checkpoint of {key.name}")
    size, root = lines[1], unbase64(lines[2])
    if not (size.isascii() and size.isdigit() and str(int(size)) == size and len(root) == 32):
        raise Invalid("the checkpoint's size or root is malformed")
    for line in signatures.removesuffix("\n").split("\n"):
        _dash, _, rest = line.partition("— ")
        name, _, data = rest.partition(" ")
        raw = unbase64(data) if name == key.name else b""
        if raw[:4] == key_hash(key.name, key.public):
            verify_ed25519(key.public, f"{body}\n".encode(), raw[4:])
            return Checkpoint(origin=lines[0], size=int(size), root=root)
    raise Invalid(f"no signature by {key.name} with the pinned key")


# ---------------------------------------------------------------- Ed25519, where `cryptography` is missing

P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int, int, int]


def verify_ed25519(public: bytes, message: bytes, signature: bytes) -> None:
    """Raises Invalid."""
    if not (native_ed25519 if NATIVE else pure_ed25519)(public, message, signature):
        raise Invalid("the checkpoint's signature is wrong")


def native_ed25519(public: bytes, message: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def pure_ed25519(public: bytes, message: bytes, signature: bytes) -> bool:
    point, start = _decompress(public), _decompress(signature[:32])
    base = _decompress((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
    s = int.from_bytes(signature[32:], "little")
    if point is None or start is None or base is None or len(signature) != 64 or s >= L:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    left, right = _multiply(s, base), _add(start, _multiply(h, point))
    return all((left[i] * right[2] - right[i] * left[2]) % P == 0 for i in (0, 1))


def _decompress(raw: bytes) -> Point | None:
    y = int.from_bytes(raw, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    if len(raw) != 32 or y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    return (x if x & 1 == sign else P - x), y, 1, (x if x & 1 == sign else P - x) * y % P


def _add(p: Point, q: Point) -> Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _multiply(scalar: int, point: Point) -> Point:
    total: Point = (0, 1, 1, 0)
    for bit in bin(scalar)[2:]:
        total = _add(total, total)
        total = _add(total, point) if bit == "1" else total
    return total


