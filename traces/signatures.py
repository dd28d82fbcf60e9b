"""Public-key signatures checked with the standard library alone: Ed25519, ECDSA on P-256, RSA.

Slow (some 10 to 50 ms) and free of dependencies; nothing here is secret, so time may vary. Signing is done
elsewhere. Pure: bytes in, an answer out.

Sources: Ed25519 RFC 8032 §5.1.7; ECDSA and P-256 FIPS 186-5 §6.4.2 and SP 800-186 §3.2.1.3, its signature's
DER form RFC 3279 §2.2.3; RSASSA-PKCS1-v1_5 RFC 8017 §8.2.2; keys as JSON RFC 7517, RFC 7518 §6, RFC 8037.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

Point = tuple[int, int]


class Invalid(ValueError):
    """Bytes that are not what they claim to be; the message says how."""


def unbase64url(text: Any) -> bytes:
    """The bytes behind base64url without padding (RFC 7515 §2), in its one canonical form. Raises Invalid."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise Invalid("not base64url") from None
    if base64url(raw) != text:
        raise Invalid("not base64url in its canonical form")
    return raw


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def valid(key: Mapping[str, Any], message: bytes, signature: bytes) -> bool:
    """Whether the key, a JSON Web Key, signed this. Raises Invalid for an unknown kind of key."""
    kind = (key.get("kty"), key.get("crv"))
    if kind == ("EC", "P-256"):
        return valid_p256(unbase64url(key.get("x")) + unbase64url(key.get("y")), message, signature)
    if kind == ("OKP", "Ed25519"):
        return valid_ed25519(unbase64url(key.get("x")), message, signature)
    if kind == ("RSA", None):
        return valid_rsa(unbase64url(key.get("n")), unbase64url(key.get("e")), message, signature)
    raise Invalid(f"a key of an unknown kind: {key.get('kty')!r}")


# Ed25519

P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
BASE = (15112221349535400772501151409588531511454012693041857206046113283949847762202, 4 * pow(5, -1, P) % P)


def valid_ed25519(public: bytes, message: bytes, signature: bytes) -> bool:
    """`public` is 32 bytes, `signature` 64."""
    key, start, s = _decompress(public), _decompress(signature[:32]), int.from_bytes(signature[32:], "little")
    if key is None or start is None or len(signature) != 64 or s >= L or _multiply(8, key) == (0, 1):
        return False  # under a key of small order, signatures hold for messages that nobody signed
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    return _multiply(s, BASE) == _add(start, _multiply(h, key))


def _decompress(raw: bytes) -> Point | None:
    y = int.from_bytes(raw, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if len(raw) != 32 or y >= P or (x * x - square) % P or (x == 0 and sign):
        return None
    return (x if x & 1 == sign else P - x), y


def _add(p: Point, q: Point) -> Point:
    (x, y), (u, v) = p, q
    t = D * x * u * y * v
    return (x * v + y * u) * pow(1 + t, -1, P) % P, (y * v + x * u) * pow(1 - t, -1, P) % P


def _multiply(scalar: int, point: Point) -> Point:
    total = (0, 1)
    for bit in bin(scalar)[2:]:
        total = _add(total, total)
        total = _add(total, point) if bit == "1" else total
    return total


# ECDSA on P-256 with SHA-256

Q = 2**256 - 2**224 + 2**192 + 2**96 - 1
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)


def valid_p256(public: bytes, message: bytes, signature: bytes) -> bool:
    """`public` is x ‖ y, 64 bytes, `signature` DER. A signature with a large s counts as one with a small."""
    key, numbers = _on_curve(public), _numbers(signature)
    if key is None or numbers is None or not all(1 <= number < ORDER for number in numbers):
        return False
    r, s = numbers
    digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
    inverse = pow(s, -1, ORDER)
    sum_ = _p256_sum(_p256_times(digest * inverse % ORDER, G), _p256_times(r * inverse % ORDER, key))
    return sum_ is not None and sum_[0] % ORDER == r


def _on_curve(public: bytes) -> Point | None:
    """The point, if it is one. The curve's cofactor is 1, so every point has the right order."""
    x, y = int.from_bytes(public[:32], "big"), int.from_bytes(public[32:], "big")
    fits = len(public) == 64 and x < Q and y < Q and (y * y - (x * x * x - 3 * x + B)) % Q == 0
    return (x, y) if fits else None


def _numbers(signature: bytes) -> Point | None:
    """r and s of SEQUENCE { INTEGER, INTEGER } in DER: one length, no leading zeros, nothing behind."""
    if len(signature) < 2 or signature[0] != 0x30 or signature[1] != len(signature) - 2 or signature[1] > 127:
        return None
    found: list[int] = []
    rest = signature[2:]
    while rest and len(found) < 3:
        length = rest[1] if len(rest) > 1 and rest[0] == 0x02 else 0
        digits = rest[2 : 2 + length]
        padded = len(digits) > 1 and digits[0] == 0 and digits[1] < 0x80
        if not 0 < length == len(digits) or digits[0] > 127 or padded:
            return None
        found.append(int.from_bytes(digits, "big"))
        rest = rest[2 + length :]
    return (found[0], found[1]) if len(found) == 2 and not rest else None


def _p256_sum(p: Point | None, q: Point | None) -> Point | None:
    """None is the point at infinity."""
    if p is None or q is None:
        return p or q
    (x, y), (u, v) = p, q
    if x == u and (y + v) % Q == 0:
        return None
    slope = (3 * x * x - 3) * pow(2 * y, -1, Q) if p == q else (v - y) * pow(u - x, -1, Q)
    z = (slope * slope - x - u) % Q
    return z, (slope * (x - z) - y) % Q


def _p256_times(scalar: int, point: Point) -> Point | None:
    total: Point | None = None
    for bit in bin(scalar)[2:]:
        total = _p256_sum(total, total)
        total = _p256_sum(total, point) if bit == "1" else total
    return total


# RSA with PKCS #1 v1.5 and SHA-256

SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


def valid_rsa(modulus: bytes, exponent: bytes, message: bytes, signature: bytes) -> bool:
    """Big-endian numbers; a modulus of 2048 to 8192 bits, and the exponent 65537, which all passkeys have."""
    n, e = int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big")
    size = (n.bit_length() + 7) // 8
    if not 2048 <= n.bit_length() <= 8192 or e != 65537 or len(signature) != size:
        return False
    s = int.from_bytes(signature, "big")
    tail = SHA256_INFO + hashlib.sha256(message).digest()
    # Built and compared as a whole: parsing what was padded is where forgeries got through.
    wanted = b"\x00\x01" + b"\xff" * (size - len(tail) - 3) + b"\x00" + tail
    return s < n and hmac.compare_digest(pow(s, e, n).to_bytes(size, "big"), wanted)
