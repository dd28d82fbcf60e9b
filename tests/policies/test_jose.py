"""Tokens are verified by what the key is, never by what they say of themselves."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from policies import jose

ISSUER, TYP = "https://agentsec.example.com", "at+jwt"
KEY, EC = jose.generate("EdDSA"), jose.generate("ES256")
KEYS = {KEY.kid: KEY, EC.kid: EC}


def claims(**more: Any) -> dict[str, Any]:
    now = int(time.time())
    told = {"iss": ISSUER, "sub": "scout", "client_id": "scout", "aud": "x", "jti": "1"}
    return {**told, "iat": now, "nbf": now, "exp": now + 60, **more}


def verified(token: str) -> dict[str, Any]:
    return jose.verified(token, keys=KEYS, typ=TYP, issuer=ISSUER)


def encoded(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(header: dict[str, Any], body: dict[str, Any], signature: bytes = b"") -> str:
    return f"{encoded(header)}.{encoded(body)}.{encoded(signature)}"


@pytest.mark.parametrize("key", [KEY, EC], ids=["EdDSA", "ES256"])
def test_what_a_key_signed_is_read_again(key: jose.Key) -> None:
    told = claims()
    assert verified(jose.signed(told, key=key, typ=TYP)) == told


def test_a_key_is_named_by_the_thumbprint_of_the_standard() -> None:
    """The key of RFC 8037, appendix A."""
    private = base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    key = jose.Key("EdDSA", Ed25519PrivateKey.from_private_bytes(private))
    assert (key.jwk["x"], key.kid) == (
        "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
    )


@pytest.mark.parametrize("key", [KEY, EC], ids=["EdDSA", "ES256"])
def test_a_verifier_reads_the_published_half(key: jose.Key) -> None:
    token = jose.signed(claims(), key=key, typ=TYP)
    published = jwt.PyJWKSet.from_dict({"keys": [item.jwk for item in KEYS.values()]})
    assert jwt.decode(token, published[key.kid], algorithms=[key.alg], audience="x")["sub"] == "scout"


@pytest.mark.parametrize("key", [KEY, EC], ids=["EdDSA", "ES256"])
def test_a_stored_key_is_the_same_key_for_its_own_algorithm_only(key: jose.Key) -> None:
    assert jose.loaded(key.alg, jose.dumped(key)).kid == key.kid
    with pytest.raises(ValueError, match="no key for"):
        jose.loaded("ES256" if key is KEY else "EdDSA", jose.dumped(key))


def test_the_private_half_is_in_no_picture_of_a_key() -> None:
    assert "private" not in repr(KEY) and "d" not in KEY.jwk


@pytest.mark.parametrize("alg", ["none", "None", "", "HS256", "EdDSA "])
def test_no_algorithm_but_the_keys_own_is_taken(alg: str) -> None:
    """Unsigned, or signed with the public key as if it were a shared secret."""
    header = {"alg": alg, "typ": TYP, "kid": KEY.kid}
    public = KEY.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signing_input = f"{encoded(header)}.{encoded(claims())}".encode()
    for signature in (b"", hmac.new(public, signing_input, hashlib.sha256).digest()):
        with pytest.raises(jose.NotValid):
            verified(forged(header, claims(), signature))


def test_a_kid_that_names_another_key_verifies_by_that_key_alone() -> None:
    for kid in (EC.kid, "unknown", "", None, 7, ["x"], {"$ne": 1}):
        headers: dict[str, Any] = {"typ": TYP} | ({"kid": kid} if isinstance(kid, str) else {})
        token = jwt.encode(claims(), KEY.private, algorithm="EdDSA", headers=headers)
        with pytest.raises(jose.NotValid):
            verified(token)
        with pytest.raises(jose.NotValid):
            verified(forged({"alg": "EdDSA", "typ": TYP, "kid": kid}, claims(), b"x" * 64))


def test_a_key_that_a_token_brings_along_counts_for_nothing() -> None:
    own = jose.generate("EdDSA")
    for more in (
        {"jwk": own.jwk},
        {"jku": "https://evil.example/jwks.json"},
        {"x5u": "https://evil.example"},
    ):
        for kid in (own.kid, KEY.kid):
            headers = {"typ": TYP, "kid": kid, **more}
            with pytest.raises(jose.NotValid):
                verified(jwt.encode(claims(), own.private, algorithm="EdDSA", headers=headers))


@pytest.mark.parametrize(
    "more",
    [
        {"exp": int(time.time()) - 1},
        {"nbf": int(time.time()) + 36_000},
        {"iss": "https://evil.example"},
        {"exp": "soon"},
        {"exp": None},
        {"jti": None},
        {"exp": 1e400},
    ],
)
def test_time_and_issuer_count(more: dict[str, Any]) -> None:
    told = {key: value for key, value in claims(**more).items() if value is not None}
    with pytest.raises(jose.NotValid):
        verified(jose.signed(told, key=KEY, typ=TYP))


def test_another_kind_of_token_is_none_of_these() -> None:
    for typ in ("statuslist+jwt", "JWT", "AT+JWT", ""):
        with pytest.raises(jose.NotValid):
            verified(jose.signed(claims(), key=KEY, typ=typ))


def test_an_extension_that_must_be_understood_is_not() -> None:
    headers = {"typ": TYP, "kid": KEY.kid, "crit": ["b64"], "b64": False}
    with pytest.raises(jose.NotValid):
        verified(jwt.encode(claims(), KEY.private, algorithm="EdDSA", headers=headers))


def test_every_changed_sign_ends_it() -> None:
    token = jose.signed(claims(), key=KEY, typ=TYP)
    for at in range(0, len(token), 7):
        other = "A" if token[at] != "A" else "B"
        if at != len(token) - 1:  # the last sign's low bits are padding
            with pytest.raises(jose.NotValid):
                verified(token[:at] + other + token[at + 1 :])


@given(st.text(max_size=200) | st.builds(lambda a, b, c: f"{a}.{b}.{c}", *[st.binary().map(encoded)] * 3))
def test_garbage_is_refused_and_nothing_else_happens(text: str) -> None:
    with pytest.raises(jose.NotValid):
        verified(text)


def test_a_deep_or_long_header_is_refused() -> None:
    for header in (b'{"a":' * 3000 + b"1" + b"}" * 3000, b"x" * 100_000):
        with pytest.raises(jose.NotValid):
            verified(f"{encoded(header)}.{encoded(claims())}.{encoded(b'x')}")


def test_what_was_wrong_is_said_without_the_token() -> None:
    token = forged({"alg": "EdDSA", "typ": TYP, "kid": KEY.kid}, claims(), b"x" * 64)
    with pytest.raises(jose.NotValid) as caught:
        verified(token)
    assert token[:20] not in str(caught.value) and caught.value.__suppress_context__
