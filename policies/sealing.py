"""Values at rest, sealed under the key-encryption key, which stands outside of the database.

sealed = nonce (12 bytes) ‖ AES-256-GCM(HKDF-SHA-256(kek, info "agentsec/secret/v1"), nonce, value, AD = name)
"""

from __future__ import annotations

import secrets as randomness

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from traces import keys
from traces.problems import Refused

NONCE = 12


def seal(name: str, value: bytes) -> bytes:
    """The value sealed under the instance's key, to be opened by the same name."""
    nonce = randomness.token_bytes(NONCE)
    return nonce + _cipher().encrypt(nonce, value, name.encode())


def opened(name: str, sealed: bytes) -> str:
    """A value that was sealed under this name. Raises Refused("unavailable") without saying more."""
    try:
        return _cipher().decrypt(sealed[:NONCE], sealed[NONCE:], name.encode()).decode()
    except (InvalidTag, ValueError):
        raise Refused("unavailable", f"the secret “{name}” does not open under this instance's key") from None


def _cipher() -> AESGCM:
    return AESGCM(
        HKDF(algorithm=SHA256(), length=32, salt=None, info=b"agentsec/secret/v1").derive(keys.kek())
    )
