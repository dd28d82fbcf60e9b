"""A passkey in software: what a browser and its authenticator hand to a site, made with real keys."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from fido2 import cbor
from fido2.cose import ES256, RS256, CoseKey, EdDSA

from traces.signatures import base64url, unbase64url

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40
RSA_KEY = rsa.generate_private_key(65537, 2048)


@dataclass
class Authenticator:
    """One passkey on one device. `kind` is ES256, EdDSA or RS256."""

    kind: str = "ES256"
    rp_id: str = "localhost"
    origin: str = "http://localhost:8000"
    credential: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    handle: str = ""
    count: int = 0
    private: Any = None

    def __post_init__(self) -> None:
        made = {"ES256": lambda: ec.generate_private_key(ec.SECP256R1()), "RS256": lambda: RSA_KEY}
        self.private = made.get(self.kind, ed25519.Ed25519PrivateKey.generate)()

    @property
    def id(self) -> str:
        return base64url(self.credential)

    @property
    def cose(self) -> CoseKey:
        kinds: dict[str, Any] = {"ES256": ES256, "RS256": RS256, "EdDSA": EdDSA}
        found: CoseKey = kinds[self.kind].from_cryptography_key(self.private.public_key())
        return found

    @property
    def jwk(self) -> dict[str, str]:
        """The public key as the log holds it; written here again, from the key itself."""
        public = self.private.public_key()
        if self.kind == "EdDSA":
            return {"kty": "OKP", "crv": "Ed25519", "x": base64url(public.public_bytes_raw())}
        numbers = public.public_numbers()
        if self.kind == "RS256":
            n, e = numbers.n.to_bytes(256, "big"), numbers.e.to_bytes(3, "big")
            return {"kty": "RSA", "n": base64url(n), "e": base64url(e)}
        x, y = numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big")
        return {"kty": "EC", "crv": "P-256", "x": base64url(x), "y": base64url(y)}

    def create(self, options: dict[str, Any], **other: Any) -> dict[str, Any]:
        """The answer to navigator.credentials.create with these options (`publicKey`, as JSON)."""
        wish = options["publicKey"]
        self.handle = wish["user"]["id"]
        attested = (
            bytes(16) + len(self.credential).to_bytes(2, "big") + self.credential + cbor.encode(self.cose)
        )
        data = self._data(ATTESTED | other.get("flags", PRESENT | VERIFIED)) + attested
        client = self._client("webauthn.create", wish["challenge"], **other)
        told = {"fmt": "none", "attStmt": {}, "authData": data}
        response = {"clientDataJSON": base64url(client), "attestationObject": base64url(cbor.encode(told))}
        return self._credential({**response, "transports": ["internal"]})

    def get(self, options: dict[str, Any], **other: Any) -> dict[str, Any]:
        """The answer to navigator.credentials.get."""
        signed = self.sign(unbase64url(options["publicKey"]["challenge"]), **other)
        response = {
            "clientDataJSON": signed["client_data"],
            "authenticatorData": signed["authenticator_data"],
            "signature": signed["signature"],
            "userHandle": self.handle,
        }
        return self._credential(response)

    def sign(self, challenge: bytes, **other: Any) -> dict[str, str]:
        """The same as a vote's entry keeps it."""
        data = self._data(other.get("flags", PRESENT | VERIFIED), other.get("rp_id", self.rp_id))
        client = self._client(other.pop("type", "webauthn.get"), base64url(challenge), **other)
        message = data + hashlib.sha256(client).digest()
        parts = {"client_data": client, "authenticator_data": data, "signature": self._signature(message)}
        return {"credential": self.id, **{name: base64url(raw) for name, raw in parts.items()}}

    def _signature(self, message: bytes) -> bytes:
        if self.kind == "ES256":
            return bytes(self.private.sign(message, ec.ECDSA(SHA256())))
        if self.kind == "RS256":
            return bytes(self.private.sign(message, padding.PKCS1v15(), SHA256()))
        return bytes(self.private.sign(message))

    def _data(self, flags: int, rp_id: str = "") -> bytes:
        self.count += 1
        site = hashlib.sha256((rp_id or self.rp_id).encode()).digest()
        return site + bytes([flags]) + self.count.to_bytes(4, "big")

    def _client(self, kind: str, challenge: str, **other: Any) -> bytes:
        said = {"type": kind, "challenge": challenge, "origin": other.get("origin", self.origin)}
        return json.dumps({**said, "crossOrigin": other.get("cross", False)}).encode()

    def _credential(self, response: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": self.id, "rawId": self.id, "type": "public-key", "response": response,
            "clientExtensionResults": {}, "authenticatorAttachment": "platform",
        }  # fmt: skip
