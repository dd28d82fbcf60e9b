"""Signatures checked without a library: what the standards' own examples say, and what nobody signed."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.authenticator import RSA_KEY
from traces import signatures
from traces.signatures import ORDER, Invalid, Q, base64url, unbase64url, valid_p256, valid_rsa

# RFC 6979 A.2.5: P-256, SHA-256.
PUBLIC = bytes.fromhex(
    "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
    "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
)
SAMPLE = (
    0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716,
    0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8,
)
TEST = (
    0xF1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367,
    0x019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083,
)
KEY = ec.generate_private_key(ec.SECP256R1())
NUMBERS = KEY.public_key().public_numbers()
OWN = NUMBERS.x.to_bytes(32, "big") + NUMBERS.y.to_bytes(32, "big")
GOOD = KEY.sign(b"message", ec.ECDSA(SHA256()))


@pytest.mark.parametrize(("message", "numbers"), [(b"sample", SAMPLE), (b"test", TEST)])
def test_the_example_of_the_standard_holds(message: bytes, numbers: tuple[int, int]) -> None:
    assert valid_p256(PUBLIC, message, encode_dss_signature(*numbers))


def test_the_same_signature_under_another_message_does_not_hold() -> None:
    assert not valid_p256(PUBLIC, b"Sample", encode_dss_signature(*SAMPLE))


def test_a_signature_of_another_hash_does_not_hold() -> None:
    # RFC 6979 A.2.5: P-256 with SHA-512 over the same message.
    r = 0x8496A60B5E9B47C825488827E0495B0E3FA109EC4568FD3F8D1097678EB97F00
    s = 0x2362AB1ADBE2B8ADF9CB9EDAB740EA6049C028114F2460F96554F61FAE3302FE
    assert not valid_p256(PUBLIC, b"sample", encode_dss_signature(r, s))


def test_the_larger_of_both_s_holds_as_the_smaller_does() -> None:
    r, s = SAMPLE
    assert valid_p256(PUBLIC, b"sample", encode_dss_signature(r, ORDER - s))


R, S = SAMPLE
OUTSIDE = {
    "r is 0": (0, S), "s is 0": (R, 0), "both are 0": (0, 0), "r is n": (ORDER, S), "s is n": (R, ORDER),
    "r beyond n": (R + ORDER, S), "s beyond n": (R, S + ORDER), "r is the field's prime": (Q, S),
    "swapped": (S, R), "ones": (1, 1), "n - 1": (ORDER - 1, ORDER - 1), "huge": (1 << 2000, 1),
}  # fmt: skip


@pytest.mark.parametrize("numbers", OUTSIDE.values(), ids=OUTSIDE.keys())
def test_numbers_that_nobody_signed_do_not_hold(numbers: tuple[int, int]) -> None:
    assert not valid_p256(PUBLIC, b"sample", encode_dss_signature(*numbers))


MIDDLE = GOOD[:2]
MALFORMED = {
    "empty": b"", "one byte": b"0", "raw r and s": b"".join(n.to_bytes(32, "big") for n in SAMPLE),
    "a byte more": GOOD + b"\0", "a byte less": GOOD[:-1], "a long length": b"\x30\x81" + GOOD[1:],
    "another tag": b"\x31" + GOOD[1:], "no second number": bytes([0x30, 3, 2, 1, 1]),
    "three numbers": bytes([0x30, 9, 2, 1, 1, 2, 1, 1, 2, 1, 1]),
    "an empty number": bytes([0x30, 5, 2, 0, 2, 1, 1]),
    "padded": bytes([0x30, 7, 2, 2, 0, 1, 2, 1, 1]), "cut number": bytes([0x30, 4, 2, 9, 1, 1]),
    "a negative number": bytes([0x30, 6, 2, 1, 0x81, 2, 1, 1]),
    "only zeros": bytes([0x30, 6, 2, 1, 0, 2, 1, 0]), "endless": b"\x30\x80" + GOOD[2:] + b"\0\0",
}  # fmt: skip


@pytest.mark.parametrize("signature", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_signatures_do_not_hold(signature: bytes) -> None:
    assert not valid_p256(OWN, b"message", signature)


NO_POINTS = {
    "nothing": b"", "zeros": bytes(64), "off by one": OWN[:63] + bytes([OWN[63] ^ 1]), "short": OWN[:63],
    "long": OWN + b"\0", "beyond the field": (NUMBERS.x + Q).to_bytes(33, "big")[-32:] + OWN[32:],
    "the prime": Q.to_bytes(32, "big") * 2, "compressed": b"\x02" + OWN[:32],
}  # fmt: skip


@pytest.mark.parametrize("public", NO_POINTS.values(), ids=NO_POINTS.keys())
def test_what_is_no_point_of_the_curve_is_no_key(public: bytes) -> None:
    assert not valid_p256(public, b"message", GOOD)


def test_the_generator_itself_is_a_key_as_any_other() -> None:
    """Private key 1: doubling and adding meet the same point on the way."""
    one = ec.derive_private_key(1, ec.SECP256R1())
    public = b"".join(number.to_bytes(32, "big") for number in signatures.G)
    assert valid_p256(public, b"message", one.sign(b"message", ec.ECDSA(SHA256())))


@settings(max_examples=15)
@given(st.integers(1, ORDER - 1), st.binary(max_size=60))
def test_what_a_library_signs_holds(secret: int, message: bytes) -> None:
    key = ec.derive_private_key(secret, ec.SECP256R1())
    numbers = key.public_key().public_numbers()
    public = numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
    assert valid_p256(public, message, key.sign(message, ec.ECDSA(SHA256())))


@settings(max_examples=40)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_changed_byte_is_judged_as_a_library_judges_it(place: int, flip: int) -> None:
    changed = bytearray(GOOD)
    changed[place] ^= flip
    try:
        KEY.public_key().verify(bytes(changed), b"message", ec.ECDSA(SHA256()))
        expected = True
    except InvalidSignature:
        expected = False
    assert valid_p256(OWN, b"message", bytes(changed)) == expected


def test_r_beyond_the_order_but_in_the_field_is_compared_as_it_should() -> None:
    """A point whose x lies between n and p: r is x - n. Such points are rare, so one is looked for."""
    x = ORDER
    while True:
        square = (x * x * x - 3 * x + signatures.B) % Q
        y = pow(square, (Q + 1) // 4, Q)
        if y * y % Q == square:
            break
        x += 1
    # With u1 = 0 for no message known, take the key so that u1 G + u2 key is that point: u2 = r / s.
    digest = int.from_bytes(hashlib.sha256(b"message").digest(), "big")
    r, s = x - ORDER, 7
    u1, u2 = digest * pow(s, -1, ORDER) % ORDER, r * pow(s, -1, ORDER) % ORDER
    back = signatures._p256_times(u1, signatures.G)
    assert back is not None
    key = signatures._p256_times(
        pow(u2, -1, ORDER), signatures._p256_sum((x, y), (back[0], Q - back[1])) or (0, 0)
    )
    assert key is not None
    public = key[0].to_bytes(32, "big") + key[1].to_bytes(32, "big")
    assert valid_p256(public, b"message", encode_dss_signature(r, s))


RSA_NUMBERS = RSA_KEY.public_key().public_numbers()
MODULUS, EXPONENT = RSA_NUMBERS.n.to_bytes(256, "big"), b"\x01\x00\x01"
RSA_GOOD = RSA_KEY.sign(b"message", padding.PKCS1v15(), SHA256())


def test_rsa_holds_for_its_message_alone() -> None:
    found = [valid_rsa(MODULUS, EXPONENT, message, RSA_GOOD) for message in (b"message", b"Message")]
    assert found == [True, False]


def _as_signature(padded: bytes) -> bytes:
    private = RSA_KEY.private_numbers()
    return pow(int.from_bytes(padded, "big"), private.d, RSA_NUMBERS.n).to_bytes(256, "big")


def _padded(tail: bytes, ones: int = -1) -> bytes:
    filled = b"\x00\x01" + b"\xff" * (253 - len(tail) if ones < 0 else ones) + b"\x00" + tail
    return filled + bytes(256 - len(filled))


HASH = hashlib.sha256(b"message").digest()
BADLY_PADDED = {
    "without what hash it is": _padded(HASH),
    "short padding and rubbish behind": _padded(signatures.SHA256_INFO + HASH, ones=8),
    "no NULL": _padded(bytes.fromhex("302f300b0609608648016503040201") + b"\x04\x20" + HASH),
    "another hash's name": _padded(signatures.SHA256_INFO.replace(b"\x04\x02\x01", b"\x04\x02\x03") + HASH),
}


@pytest.mark.parametrize("padded", BADLY_PADDED.values(), ids=BADLY_PADDED.keys())
def test_rsa_takes_one_padding_only(padded: bytes) -> None:
    assert not valid_rsa(MODULUS, EXPONENT, b"message", _as_signature(padded))


def test_rsa_takes_no_exponent_that_makes_forging_easy() -> None:
    assert not valid_rsa(MODULUS, b"\x01", b"message", _padded(signatures.SHA256_INFO + HASH))


def test_rsa_takes_no_signature_beyond_the_modulus() -> None:
    beyond = int.from_bytes(RSA_GOOD, "big") + RSA_NUMBERS.n
    assert not valid_rsa(MODULUS, EXPONENT, b"message", beyond.to_bytes(257, "big"))


@pytest.mark.parametrize(
    "key", [{}, {"kty": "EC"}, {"kty": "EC", "crv": "P-384"}, {"kty": "oct", "k": "AA"}, {"kty": "none"}]
)
def test_a_key_of_another_kind_is_refused(key: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        signatures.valid(key, b"message", GOOD)


@pytest.mark.parametrize("text", ["A", "AB==", "A+", "A/", "AB\n", " AAA", "AB", None, 5, "é", "ab c"])
def test_base64url_has_one_form(text: object) -> None:
    with pytest.raises(Invalid):
        unbase64url(text)


@given(st.binary(max_size=40))
def test_base64url_comes_back(raw: bytes) -> None:
    assert unbase64url(base64url(raw)) == raw
