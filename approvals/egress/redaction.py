"""Taking secret values out of what comes back, whatever it is written in, across the borders of chunks.

Each character of a value is looked for as itself, percent-encoded, JSON-escaped, as an HTML reference, behind
a backslash, and with the zero bytes of UTF-16 and UTF-32 between, mixed as one likes; the whole value also in
base64 (both alphabets, at each of the three alignments) and in hexadecimal. Case does not count. What is
found becomes as many asterisks, so that lengths that were announced still hold.

What an endpoint computes of a value (a hash, its reverse, one half of it) is not found: a secret goes only to
hosts that may know it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable

# A shorter value is found everywhere, or can be tried out: it is never put into a request.
SHORTEST = 8
LONGEST = 4096
_ENTITIES = {'"': rb"&quot;", "&": rb"&amp;", "<": rb"&lt;", ">": rb"&gt;", "'": rb"&apos;"}
_ZEROES = rb"\x00{0,3}"


class Redactor:
    """Takes the values out of one stream of bytes."""

    def __init__(self, values: Iterable[str]) -> None:
        kept = sorted({value for value in values if value}, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(_forms, kept)), re.IGNORECASE) if kept else None
        # The longest way to write a character is &#x10ffff; or two \uXXXX, with zeroes behind it.
        self._span = max((len(value) for value in kept), default=0) * 16
        self._held = b""

    @property
    def idle(self) -> bool:
        """Whether there is nothing to take out."""
        return self._pattern is None

    def whole(self, data: bytes) -> bytes:
        """All of something, by itself."""
        return self._pattern.sub(_stars, data) if self._pattern is not None else data

    def text(self, text: str) -> str:
        return self.whole(text.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")

    def feed(self, data: bytes) -> bytes:
        """The next piece of the stream; what could be the beginning of a value waits for the piece after it."""
        if self._pattern is None:
            return data
        held = self.whole(self._held + data)
        cut = max(0, len(held) - self._span)
        self._held = held[cut:]
        return held[:cut]

    def end(self) -> bytes:
        """What was still held back."""
        rest, self._held = self._held, b""
        return self.whole(rest)


def _stars(found: re.Match[bytes]) -> bytes:
    return b"*" * len(found.group())


def _forms(value: str) -> bytes:
    raw = value.encode()
    return b"|".join([b"".join(map(_character, value)), re.escape(raw.hex().encode()), *_base64(raw)])


def _character(char: str) -> bytes:
    raw = char.encode()
    units = char.encode("utf-16-be")
    ways = [
        re.escape(raw),
        rb"\\" + re.escape(raw),
        b"".join(b"%%%02x" % byte for byte in raw),
        b"".join(rb"\\u%02x%02x" % (units[at], units[at + 1]) for at in range(0, len(units), 2)),
        rb"&#0{0,4}%d;" % ord(char),
        rb"&#x0{0,4}%x;" % ord(char),
    ]
    ways += [rb"\\x%02x" % raw[0]] if len(raw) == 1 else []
    ways += [_ENTITIES[char]] if char in _ENTITIES else []
    ways += [rb"\+"] if char == " " else []
    return b"(?:" + b"|".join(ways) + b")" + _ZEROES


def _base64(raw: bytes) -> list[bytes]:
    """The part of its base64 that no neighbour changes, at each alignment and in both alphabets."""
    found = []
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw)
        first = (8 * before + 5) // 6
        last = (8 * (before + len(raw))) // 6
        core = encoded[first:last]
        found += [re.escape(core), re.escape(core.translate(bytes.maketrans(b"+/", b"-_")))]
    return found


