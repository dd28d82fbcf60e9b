"""Signed checkpoints: a tree's size and root in a note that anyone can verify. Bytes in, bytes out.

Formats: C2SP tlog-checkpoint (the text), C2SP signed-note (the signature lines), Ed25519 (RFC 8032).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from traces import verify
from traces.verify import ALGORITHM_ED25519, Checkpoint, VerifierKey, key_hash

__all__ = ["Checkpoint", "Signer", "VerifierKey", "open_checkpoint"]

_PRIVATE = "PRIVATE+KEY+"


@dataclass(frozen=True)
class Signer:
    """A key and the name under which it signs."""

    name: str
    key: Ed25519PrivateKey

    def __post_init__(self) -> None:
        if not self.name or "+" in self.name or any(character.isspace() for character in self.name):
            raise ValueError("a key's name is not empty and has neither spaces nor a plus sign")

    @classmethod
    def parse(cls, text: str) -> Signer:
        """From `PRIVATE+KEY+name+hash+data`. Raises ValueError."""
        name, _, rest = text.strip().removeprefix(_PRIVATE).partition("+")
        fingerprint, _, data = rest.partition("+")
        raw = base64.b64decode(data, validate=True)
        if not text.startswith(_PRIVATE) or len(raw) != 33 or raw[0] != ALGORITHM_ED25519:
            raise ValueError("not an Ed25519 note key")
        signer = cls(name=name, key=Ed25519PrivateKey.from_private_bytes(raw[1:]))
        if signer.fingerprint.hex() != fingerprint:
            raise ValueError("name and key do not belong together")
        return signer

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    @property
    def fingerprint(self) -> bytes:
        return key_hash(self.name, self.public)

    @property
    def signer_key(self) -> str:
        data = base64.b64encode(bytes([ALGORITHM_ED25519]) + self.key.private_bytes_raw()).decode()
        return f"{_PRIVATE}{self.name}+{self.fingerprint.hex()}+{data}"

    @property
    def verifier_key(self) -> str:
        data = base64.b64encode(bytes([ALGORITHM_ED25519]) + self.public).decode()
        return f"{self.name}+{self.fingerprint.hex()}+{data}"


def sign(*, size: int, root: bytes, signer: Signer) -> str:
    """The signed note of a tree of `size` leaves."""
    body = f"{signer.name}\n{size}\n{base64.b64encode(root).decode()}\n"
    signature = base64.b64encode(signer.fingerprint + signer.key.sign(body.encode())).decode()
    return f"{body}\n— {signer.name} {signature}\n"


def open_checkpoint(note: str, key: VerifierKey) -> Checkpoint:
    """The checkpoint that this key has signed. Raises verify.Invalid."""
    return verify.open_checkpoint(note, key, _valid)


def _valid(public: bytes, message: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
