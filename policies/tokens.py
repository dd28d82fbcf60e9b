"""Bearer secrets: 256 random bits behind a prefix that says what they are; only their hash is stored.

A plain SHA-256 is enough: what it hides is not a password but 256 bits that nobody can guess. The first
characters are stored in the clear, so that people recognise a key and a lookup needs no hash of a guess.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

PREFIX = 12
_FORM = re.compile(r"(?:ask|ast|lnk)_[A-Za-z0-9_-]{43}")


class Stored(Protocol):
    sha256: str


Row = TypeVar("Row", bound=Stored)


@dataclass(frozen=True)
class Minted:
    """`raw` is shown once; `prefix` and `sha256` are kept."""

    raw: str = field(repr=False)
    prefix: str
    sha256: str


def mint(kind: str) -> Minted:
    """A fresh token of the kind `ask` (an agent's key), `ast` (a person's token) or `lnk` (a link)."""
    raw = f"{kind}_{secrets.token_urlsafe(32)}"
    return Minted(raw=raw, prefix=raw[:PREFIX], sha256=hashed(raw))


def hashed(raw: str) -> str:
    """64 lower-case hex digits of SHA-256."""
    return hashlib.sha256(raw.encode()).hexdigest()


def well_formed(raw: str, kind: str) -> bool:
    """Whether it can be such a token at all; what cannot never reaches the database."""
    return raw.startswith(f"{kind}_") and _FORM.fullmatch(raw) is not None


def pick(raw: str, rows: Iterable[Row]) -> Row | None:
    """The row that holds this token's hash, compared in constant time."""
    wanted = hashed(raw)
    found = None
    for row in rows:
        if hmac.compare_digest(row.sha256, wanted):
            found = row
    return found
