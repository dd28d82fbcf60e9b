"""Payloads at rest: JSON, compressed, sealed with a key of their own.

entry key  = HMAC-SHA-256(subject key, "agentsec/entry/v1\\n" ‖ entry id)
commitment = HMAC-SHA-256(entry key, "agentsec/payload/v1\\n" ‖ JSON), in the header
sealed     = nonce (12 bytes) ‖ AES-256-GCM(entry key, nonce, zstd(JSON), associated data = header)

One key an entry lets an evidence bundle open exactly the entries that it discloses, and the commitment
proves a payload with SHA-256 alone. JSON is ASCII with escapes, so that NUL and lone surrogates, which
neither PostgreSQL's text nor UTF-8 can hold, survive.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Any

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.core.serializers.json import DjangoJSONEncoder

from traces import keys, problems
from traces.verify import commitment

MAX_PAYLOAD = 16 * 1024 * 1024
NONCE = 12
_ENTRY = b"agentsec/entry/v1\n"
_WRAP = b"agentsec/subject-key/v1\n"


class Tampered(Exception):
    """Sealed bytes that do not open with the key that the log names."""


def encode(payload: Mapping[str, Any]) -> bytes:
    """Mapping → JSON bytes. Raises Invalid for what JSON cannot say, TooLarge beyond 16 MiB."""
    try:
        encoded = json.dumps(payload, cls=DjangoJSONEncoder, allow_nan=False, separators=(",", ":")).encode(
            "ascii"
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise problems.Invalid(f"The event cannot be written as JSON: {error}") from error
    if len(encoded) > MAX_PAYLOAD:
        raise problems.TooLarge(f"The event has {len(encoded)} bytes, the limit is {MAX_PAYLOAD}.")
    return encoded


def entry_key(subject_key: bytes, entry_id: str) -> bytes:
    """The key of one entry, 32 bytes; the subject's key does not follow from it."""
    return hmac.digest(subject_key, _ENTRY + entry_id.encode(), "sha256")


def seal(encoded: bytes, *, key: bytes, header: bytes) -> bytes:
    """JSON bytes → sealed bytes, bound to the header."""
    nonce = secrets.token_bytes(NONCE)
    return nonce + AESGCM(key).encrypt(nonce, zstandard.ZstdCompressor().compress(encoded), header)


def unseal(sealed: bytes, *, key: bytes, header: bytes) -> bytes:
    """Sealed bytes → JSON bytes. Raises Tampered where key, header and bytes do not belong together."""
    try:
        packed = AESGCM(key).decrypt(sealed[:NONCE], sealed[NONCE:], header)
        encoded = zstandard.ZstdDecompressor().decompress(packed, max_output_size=MAX_PAYLOAD)
        committed = json.loads(header)["payload"]
    except (InvalidTag, ValueError, KeyError, zstandard.ZstdError) as error:
        raise Tampered("The payload does not open with its key: run `manage.py verify`.") from error
    if not hmac.compare_digest(commitment(key, encoded), str(committed)):
        raise Tampered("The payload is not the one that its header names: run `manage.py verify`.")
    return encoded


def new_subject_key(key_id: str) -> bytes:
    """A fresh subject key, wrapped for storage under this id."""
    nonce = secrets.token_bytes(NONCE)
    return nonce + AESGCM(keys.kek()).encrypt(nonce, secrets.token_bytes(32), _WRAP + key_id.encode())


def unwrap(wrapped: bytes, key_id: str) -> bytes:
    """The subject key. Raises Tampered where another key-encryption key or another row's key is in place."""
    try:
        return AESGCM(keys.kek()).decrypt(wrapped[:NONCE], wrapped[NONCE:], _WRAP + key_id.encode())
    except (InvalidTag, ValueError) as error:
        raise Tampered(
            f"Subject key {key_id} does not unwrap: is the key-encryption key another one?"
        ) from error
