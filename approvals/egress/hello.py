"""Which host a TLS ClientHello asks for. Pure.

Source: RFC 8446 §4.1.2 (ClientHello), §5.1 (records); RFC 6066 §3 (server_name); RFC 9849 (the encrypted
hello, whose extension is 0xfe0d).
"""

from __future__ import annotations

from dataclasses import dataclass

LONGEST = 1 << 16
_HANDSHAKE, _CLIENT_HELLO, _SERVER_NAME, _ENCRYPTED = 22, 1, 0, 0xFE0D


class NoHello(ValueError):
    """These bytes are no ClientHello that can be held to a host; the message says why."""


@dataclass(frozen=True)
class Hello:
    """The name that it asks for; empty where it names none."""

    name: str


def read(data: bytes) -> Hello | None:
    """The hello at the beginning of `data`; None while there is not all of it. Raises NoHello."""
    try:
        message = _message(data)
        return None if message is None else Hello(_name(_Bytes(message)))
    except IndexError:
        raise NoHello("a broken TLS hello") from None


def _message(data: bytes) -> bytes | None:
    """The first handshake message, put together from its records."""
    message, at = b"", 0
    while len(message) < 4 or len(message) < 4 + int.from_bytes(message[1:4]):
        if data[at : at + 1] not in (b"", bytes([_HANDSHAKE])) or data[at + 1 : at + 2] not in (b"", b"\x03"):
            raise NoHello("what is sent is not TLS")
        if len(data) > LONGEST:
            raise NoHello("a TLS hello without end")
        length = int.from_bytes(data[at + 3 : at + 5])
        if len(data) < at + 5 or len(data) < at + 5 + length:
            return None
        if not length:
            raise NoHello("a broken TLS hello")
        message += data[at + 5 : at + 5 + length]
        at += 5 + length
    if message[0] != _CLIENT_HELLO:
        raise NoHello("what is sent is not TLS")
    return message[4 : 4 + int.from_bytes(message[1:4])]


class _Bytes:
    """Reads forward; IndexError past the end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) != count:
            raise IndexError
        self._at += count
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def vector(self, size: int) -> bytes:
        return self.take(self.number(size))

    @property
    def left(self) -> bool:
        return self._at < len(self._data)


def _name(hello: _Bytes) -> str:
    hello.take(2 + 32)  # version, random
    hello.vector(1)  # session
    hello.vector(2)  # ciphers
    hello.vector(1)  # compression
    extensions = _Bytes(hello.vector(2)) if hello.left else _Bytes(b"")
    names: list[str] = []
    while extensions.left:
        kind, content = extensions.number(2), extensions.vector(2)
        if kind == _ENCRYPTED:
            raise NoHello("an encrypted TLS hello, which hides the host")
        if kind == _SERVER_NAME:
            names += _listed(_Bytes(_Bytes(content).vector(2)))
    if len(names) > 1:
        raise NoHello("a TLS hello that names two hosts")
    return names[0] if names else ""


def _listed(names: _Bytes) -> list[str]:
    found = []
    while names.left:
        kind, name = names.number(1), names.vector(2)
        if kind != 0 or not name.isascii():
            raise NoHello("a broken TLS hello")
        found.append(name.decode("ascii").lower())
    return found
