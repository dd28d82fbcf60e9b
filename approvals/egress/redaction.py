r"""Taking secret values out of what comes back, whatever it is written in, across the borders of chunks.

Each character of a value is looked for as itself, percent-encoded, JSON-escaped, as an HTML reference,
behind a backslash, and with the zero bytes of UTF-16 and UTF-32 between, mixed as one likes; the whole value
also in base64 (both alphabets, at each of the three alignments) and in hexadecimal. The case of ASCII letters
does not count. Beside that all is looked for that masking finds in texts (`policies.firewall.undone`): broken
lines, escapes of escapes, quoted-printable, separated digits, dumps, base64 of base64. What is found becomes
as many asterisks, so that lengths that were announced still hold.

What an endpoint computes of a value (a hash, its reverse, one half of it) is not found: a secret goes only to
hosts that may know it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from functools import cached_property

from policies.firewall.known import Known

# A shorter value is found everywhere, or can be tried out: it is never put into a request.
SHORTEST = 8
LONGEST = 4096
_ENTITIES = {'"': b"quot;", "&": b"amp;", "<": b"lt;", ">": b"gt;", "'": b"apos;"}
_ZEROES = rb"\x00{0,3}"
# The longest way to write an ASCII character is &#x0000000041; with zeroes behind it; a byte of another may
# stand as %25%66%66. And a line of a dump has its address and its text beside the bytes.
_WIDEST, _WIDEST_BYTE, _LINE = 20, 10, 200


class Needles:
    """What is looked for, made ready when the first answer of a run needs it."""

    def __init__(self, values: Iterable[str]) -> None:
        kept = sorted({value for value in values if value}, key=len, reverse=True)
        self._values = kept
        self.span = max(map(_width, kept), default=0) + _LINE

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[bytes], ...]:
        return tuple(re.compile(form) for value in self._values for form in _forms(value))

    @cached_property
    def _known(self) -> Known:
        return Known([("", value) for value in self._values], of_bytes=True)

    @property
    def none(self) -> bool:
        return not self._values

    def taken_out(self, data: bytes) -> bytes:
        for pattern in self._patterns:
            data = pattern.sub(_stars, data)
        spans = self._known.spans(data.decode("latin-1"))
        if spans:
            written = bytearray(data)
            for start, end, _ in spans:
                written[start:end] = b"*" * (end - start)
            data = bytes(written)
        return data

    def of_text(self, text: str) -> str:
        return self.taken_out(text.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")


class Redactor:
    """Takes the values out of one stream of bytes."""

    def __init__(self, needles: Needles) -> None:
        self._needles = needles
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """The next piece of the stream; what could begin a value waits for the piece after it."""
        if self._needles.none:
            return data
        held = self._needles.taken_out(self._held + data)
        cut = max(0, len(held) - self._needles.span)
        self._held = held[cut:]
        return held[:cut]

    def end(self) -> bytes:
        """What was still held back."""
        rest, self._held = self._held, b""
        return self._needles.taken_out(rest)


def _width(value: str) -> int:
    """The most bytes that are held back for a value."""
    return max(len(value) * _WIDEST, len(value.encode()) * _WIDEST_BYTE)


def _stars(found: re.Match[bytes]) -> bytes:
    return b"*" * len(found.group())


def _forms(value: str) -> Iterator[bytes]:
    raw = value.encode()
    yield _beginning(value[0]) + _ZEROES + b"".join(map(_character, value[1:]))
    yield _any_case(raw.hex().encode())
    yield from _base64(raw)


def _beginning(char: str) -> bytes:
    """Its first character, with all the bytes that it may begin with in one class in front: re then finds
    candidates many times faster than by trying each way at each byte.
    """
    ways = _ways(char)
    starts = b"".join(re.escape(each) for way in ways for each in {way[:1].lower(), way[:1].upper()})
    rest = (b"(?<=" + _any_case(way[:1]) + b")" + way[1:] for way in _opened(ways))
    return b"[" + starts + b"](?:" + b"|".join(rest) + b")"


def _opened(ways: list[bytes]) -> list[bytes]:
    """The ways as patterns behind a plain first byte."""
    return [way[:1] + _tail(way[1:]) for way in ways]


def _character(char: str) -> bytes:
    return b"(?:" + b"|".join(_any_case(way[:1]) + _tail(way[1:]) for way in _ways(char)) + b")" + _ZEROES


def _ways(char: str) -> list[bytes]:
    """How it may be written; a number in an HTML reference may have zeroes in front, marked by NUL."""
    raw, units = char.encode(), char.encode("utf-16-be")
    escaped = b"".join(b"\\u%02x%02x" % (units[at], units[at + 1]) for at in range(0, len(units), 2))
    ways = [
        raw, b"\\" + raw, b"".join(b"%%%02x" % byte for byte in raw), escaped,
        b"&#\0%d;" % ord(char), b"&#x\0%x;" % ord(char),
    ]  # fmt: skip
    ways += [b"\\x%02x" % raw[0]] if len(raw) == 1 else []
    ways += [b"&" + _ENTITIES[char]] if char in _ENTITIES else []
    return ways + ([b"+"] if char == " " else [])


def _tail(rest: bytes) -> bytes:
    return b"0{0,4}".join(_any_case(part) for part in rest.split(b"\0"))


def _any_case(text: bytes) -> bytes:
    return b"".join(
        b"[%c%c]" % (byte, byte ^ 0x20) if bytes([byte]).isalpha() else re.escape(bytes([byte]))
        for byte in text
    )


def _base64(raw: bytes) -> Iterator[bytes]:
    """The part of its base64 that no neighbour changes, at each alignment and in both alphabets."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw)
        core = encoded[(8 * before + 5) // 6 : (8 * (before + len(raw))) // 6]
        yield from {re.escape(core), re.escape(core.translate(bytes.maketrans(b"+/", b"-_")))}
