"""Decisions signed by passkeys, checked with the standard library alone: is a vote really its voter's?

A passkey signs a challenge, and the challenge is a hash of the decision. Pure: bytes in, or Invalid.

Sources: WebAuthn Level 3 §5.8.1 (client data), §6.1 (authenticator data), §7.2 (what to check of an
assertion); canonical JSON RFC 8785.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from traces.signatures import Invalid, base64url, unbase64url, valid

DOMAIN = b"agentsec/decision/v1\n"
PRESENT, VERIFIED = 0x01, 0x04
MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True)
class Passkey:
    """A registered public key: whose (an actor such as `user:3`), its id, JSON Web Key and site."""

    user: str
    credential: str
    key: Mapping[str, Any]
    rp_id: str

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Passkey:
        """From JSON with exactly these members (others are left alone). Raises Invalid."""
        names = ("user", "credential", "rp_id")
        if not all(isinstance(said.get(name), str) for name in names) or not isinstance(
            said.get("key"), dict
        ):
            raise Invalid("this is no passkey: it lacks user, credential, key or rp_id")
        return cls(said["user"], said["credential"], said["key"], said["rp_id"])


def challenge(*, digest: str, verdict: str, comment: str, revision: int, user: str) -> bytes:
    """What a passkey signs for this decision, 32 bytes. Raises Invalid for text that UTF-8 cannot hold."""
    said = {"comment": comment, "digest": digest, "revision": revision, "user": user, "verdict": verdict}
    text = json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    try:
        return hashlib.sha256(DOMAIN + text.encode()).digest()
    except UnicodeEncodeError:
        raise Invalid("the comment holds what is no text") from None


def challenge_of(vote: Mapping[str, Any], user: str) -> bytes:
    """The challenge that the body of a vote's entry stands for."""
    said = {name: vote[name] for name in ("digest", "verdict", "comment", "revision")}
    return challenge(**said, user=user)


def check(
    signature: Mapping[str, Any],
    *,
    passkey: Passkey,
    wanted: bytes,
    valid: Callable[[Mapping[str, Any], bytes, bytes], bool] = valid,
) -> None:
    """The passkey signed the challenge `wanted`, on its own site, with its owner verified.

    `signature` holds credential, client_data, authenticator_data and signature, in base64url; `valid` is
    another check of a key, a message and a signature. Raises Invalid.
    """
    if signature.get("credential") != passkey.credential:
        raise Invalid("it was made with another passkey")
    names = ("client_data", "authenticator_data", "signature")
    client, data, signed = (unbase64url(signature.get(name)) for name in names)
    _check_client(client, wanted, passkey.rp_id)
    if data[:32] != hashlib.sha256(passkey.rp_id.encode()).digest() or len(data) < 37:
        raise Invalid("it was made for another site")
    if data[32] & (PRESENT | VERIFIED) != PRESENT | VERIFIED:
        raise Invalid("the passkey did not verify its owner")
    if not valid(passkey.key, data + hashlib.sha256(client).digest(), signed):
        raise Invalid("the signature is wrong")


def _check_client(raw: bytes, wanted: bytes, rp_id: str) -> None:
    try:
        said = json.loads(raw)
        kind, challenged, origin = said["type"], said["challenge"], said["origin"]
    except MALFORMED:
        raise Invalid("the browser's part of the signature is malformed") from None
    if kind != "webauthn.get" or challenged != base64url(wanted):
        raise Invalid("it signs another decision: another call, verdict, comment or person")
    if said.get("crossOrigin", False) is not False or not is_origin(origin, rp_id):
        raise Invalid(f"it was made on the page of another site: {origin!r}")


def is_origin(origin: Any, rp_id: str) -> bool:
    """Whether pages of this origin are the site's own: its very host, by TLS or on this machine."""
    try:
        parts = urlsplit(origin)
        schemes = ("http", "https") if rp_id == "localhost" else ("https",)
        return parts.hostname == rp_id and parts.scheme in schemes
    except MALFORMED:
        return False
