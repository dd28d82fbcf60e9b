"""Codes of an authenticator app: six digits, each for thirty seconds. Pure.

Source: RFC 6238 (TOTP) over RFC 4226 (HOTP), HMAC-SHA-1, which is what the apps know.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from urllib.parse import quote, urlencode

STEP_SECONDS, DIGITS, SECRET_BYTES = 30, 6, 20
# A step to either side, for clocks that differ and for slow typing.
DRIFT = 1


def new_secret() -> str:
    """A secret in base32, as apps take it."""
    return base64.b32encode(secrets.token_bytes(SECRET_BYTES)).decode()


def code(secret: str, step: int) -> str:
    """The code of one time step."""
    mac = hmac.digest(base64.b32decode(secret), step.to_bytes(8, "big"), hashlib.sha1)
    start = mac[-1] & 0x0F
    number = int.from_bytes(mac[start : start + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**DIGITS:0{DIGITS}}"


def matching_step(secret: str, given: str, *, now: float, after: int = 0) -> int | None:
    """The time step whose code this is, if it is one around `now` (seconds) and later than step `after`."""
    current = int(now) // STEP_SECONDS
    fits = [
        step
        for step in range(current - DRIFT, current + DRIFT + 1)
        if hmac.compare_digest(code(secret, step).encode(), given.encode())
    ]
    return next((step for step in fits if step > after), None)


def address(secret: str, *, person: str, site: str) -> str:
    """The `otpauth:` address that an app reads from a picture."""
    label = quote(f"{site}:{person}")
    return f"otpauth://totp/{label}?{urlencode({'secret': secret, 'issuer': site}, quote_via=quote)}"
