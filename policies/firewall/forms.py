"""The ways in which programs usually write a value that somebody stored as a secret. Pure.

As it is; escaped for JSON, HTML or a URL; as hexadecimal digits; as Base64 (RFC 4648), in which the same
bytes look different at each of three places of a longer text; as UTF-16. Anybody who wants to hide a value
writes it in a way of their own: what recognises these forms catches carelessness, not every intent.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, quote_plus, unquote, urlsplit

# What is shorter stands in honest texts by chance, and could be guessed by trying.
FEWEST = 8
FEWEST_OF_A_LINE = 16
_FEWEST_SIGNS = 5
_LONGEST_WORD = 16
_CONNINFO = re.compile(r"(?:^|[\s?&;])password\s*=\s*'?([^'\s&;]+)", re.IGNORECASE)
_URL_SAFE = str.maketrans("+/", "-_")


@dataclass(frozen=True)
class Form:
    """One way of writing a value; `base64` where its ends hold bits of the signs beside it."""

    text: str
    base64: bool = False


def unfit(value: str) -> str:
    """Why this value could not be recognised without masking honest texts too; "" where it is fit."""
    if len(value) < FEWEST:
        return f"it has {len(value)} characters, and less than {FEWEST} stand in other texts by chance"
    if len(set(value)) < _FEWEST_SIGNS:
        return f"it is made of less than {_FEWEST_SIGNS} different characters"
    if len(value) < _LONGEST_WORD and value.isalpha() and value[1:].islower():
        return "it could be a word of other texts, which would be masked with it"
    return ""


def forms(value: str) -> set[Form]:
    """Every form of a value and of the parts of it that are as secret as the whole."""
    return {form for part in parts(value) for form in _written(part)}


def forms_of_bytes(value: str) -> set[Form]:
    """Every form of a whole value, fit or not, as its bytes look when they are read as Latin-1."""
    return {
        Form(form.text.encode("utf-8", "surrogateescape").decode("latin-1"), form.base64)
        for form in _written(value)
    }


def parts(value: str) -> Iterator[str]:
    """The value without the blanks around it, its lines, and the password in an address."""
    whole = value.strip() or value
    if unfit(whole):
        return
    yield whole
    lines = [line.strip() for line in whole.splitlines()]
    if len(lines) > 1:
        yield from (line for line in lines if _is_telling(line))
    yield from (word for word in _passwords(whole) if not unfit(word))


def _is_telling(line: str) -> bool:
    return len(line) >= FEWEST_OF_A_LINE and not line.startswith("-----") and not unfit(line)


def _passwords(value: str) -> Iterator[str]:
    try:
        written = urlsplit(value).password or ""
    except ValueError:
        written = ""
    yield from {written, unquote(written)}
    yield from _CONNINFO.findall(value)


def _written(value: str) -> Iterator[Form]:
    raw = value.encode("utf-8", "surrogatepass")
    escaped = json.dumps(value)[1:-1]
    plain = {
        value, escaped, json.dumps(value, ensure_ascii=False)[1:-1], json.dumps(escaped)[1:-1],
        repr(value)[1:-1], html.escape(value), raw.hex(), raw.hex().upper(), *_wide(value),
    }  # fmt: skip
    for quoted in (quote(raw, safe=""), quote(raw, safe="/"), quote_plus(raw)):
        plain |= {quoted, re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), quoted)}
    yield from map(Form, plain)
    for place in range(3):
        inside = _inside(raw, place)
        yield Form(inside, base64=True)
        yield Form(inside.translate(_URL_SAFE), base64=True)


def _wide(value: str) -> tuple[str, str]:
    """UTF-16 of both orders as it looks when it is read as UTF-8."""
    little, big = (value.encode(f"utf-16-{order}", "surrogatepass") for order in ("le", "be"))
    found = (little.removesuffix(b"\0"), big.removeprefix(b"\0"))
    return found[0].decode("utf-8", "surrogateescape"), found[1].decode("utf-8", "surrogateescape")


def _inside(raw: bytes, place: int) -> str:
    """Base64 of what these bytes say wherever they stand at this place (0 to 2) of a group of three: without
    the signs that hold bits of their neighbours too.
    """
    encoded = base64.b64encode(bytes(place) + raw).decode().rstrip("=")
    first = (0, 2, 3)[place]
    whole = (place + len(raw)) * 8 // 6
    return encoded[first:whole]
