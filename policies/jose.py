"""JSON web tokens (RFC 7519), signed and verified; the only file that imports PyJWT.

EdDSA over Ed25519 (RFC 8037) and ES256 over P-256 (RFC 7518). A token is verified by the algorithm of the
key that its `kid` names, never by the one that its own header asks for (RFC 8725, section 3.1).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

ALGORITHMS = ("EdDSA", "ES256")
MAX_TOKEN = 16_384
CLAIMS = ("iss", "sub", "aud", "exp", "iat", "nbf", "jti", "client_id")
PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey


class NotValid(ValueError):
    """The text is no token that one of these keys signed for this use, or its time is not now."""


@dataclass(frozen=True)
class Key:
    """A key pair that signs by one algorithm."""

    alg: str
    private: PrivateKey = field(repr=False)

    @property
    def kid(self) -> str:
        """The thumbprint of the public half (RFC 7638, SHA-256), base64url without padding."""
        return _text(hashlib.sha256(rfc8785.dumps(self._public())).digest())

    @property
    def jwk(self) -> dict[str, str]:
        """The public half as verifiers take it (RFC 7517)."""
        return {**self._public(), "kid": self.kid, "alg": self.alg, "use": "sig"}

    def _public(self) -> dict[str, str]:
        """The members that say which key it is, and no others: those that a thumbprint is taken over."""
        public = self.private.public_key()
        if not isinstance(public, EllipticCurvePublicKey):
            raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
            return {"kty": "OKP", "crv": "Ed25519", "x": _text(raw)}
        numbers = public.public_numbers()
        x, y = (_text(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
        return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def generate(alg: str) -> Key:
    """A new key pair. Raises ValueError for an algorithm that is not in ALGORITHMS."""
    if alg not in ALGORITHMS:
        raise ValueError(f"tokens are signed by {' or '.join(ALGORITHMS)}, not {alg[:40]!r}")
    return Key(alg, Ed25519PrivateKey.generate() if alg == "EdDSA" else generate_private_key(SECP256R1()))


def dumped(key: Key) -> bytes:
    """The private half in PKCS #8, to be sealed."""
    return key.private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def loaded(alg: str, raw: bytes) -> Key:
    """The key that `dumped` wrote. Raises ValueError where it is none, or one for another algorithm."""
    private = load_der_private_key(raw, password=None)
    if alg == "EdDSA" and isinstance(private, Ed25519PrivateKey):
        return Key(alg, private)
    if alg == "ES256" and isinstance(private, EllipticCurvePrivateKey) and private.curve.name == "secp256r1":
        return Key(alg, private)
    raise ValueError(f"this is no key for {alg[:40]!r}")


def signed(claims: Mapping[str, Any], *, key: Key, typ: str) -> str:
    """A compact JWS; `typ` says what kind of token it is, so that none is taken for another."""
    headers = {"typ": typ, "kid": key.kid}
    return jwt.encode(dict(claims), key.private, algorithm=key.alg, headers=headers)


def verified(token: str, *, keys: Mapping[str, Key], typ: str, issuer: str) -> dict[str, Any]:
    """The claims of a token that one of these keys (by their `kid`) signed, for whatever audience.

    Raises NotValid, whatever is wrong with it: form, kind, key, algorithm, signature, issuer, time.
    """
    if len(token) > MAX_TOKEN or not token.isascii():
        raise NotValid("this is no token")
    try:
        header = jwt.get_unverified_header(token)
        key = _named(header, keys, typ)
        return jwt.decode(
            token, key.private.public_key(), algorithms=[key.alg], issuer=issuer,
            options={"require": list(CLAIMS), "verify_aud": False},
        )  # fmt: skip
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
        # Neither the token nor a part of it belongs into a message.
        raise NotValid(f"this token is not valid ({type(error).__name__})") from None


def _named(header: Mapping[str, Any], keys: Mapping[str, Key], typ: str) -> Key:
    kid = header.get("kid")
    key = keys.get(kid) if isinstance(kid, str) else None
    if key is None or header.get("alg") != key.alg or header.get("typ") != typ or "crit" in header:
        raise NotValid("another key, algorithm or kind of token")
    return key


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
