"""HTTP/1.1 as strangers speak it, read strictly: what two readers could read differently is refused.

The header is looked at as raw bytes before h11 reads it, since h11 forgives what proxies and servers disagree
on (bare line feeds, folded lines, a length beside a transfer encoding). Every request is written anew from
what was read, never passed on.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import h11

from policies.fetch import CHUNK, Deadline

MOST_HEAD = 32 * 1024
MOST_HEADERS = 100
_AMBIGUOUS = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|\n[ \t]|\x00")
_LENGTH = re.compile(rb"[0-9]{1,18}")
# Of one connection, not of the message: never passed on, whatever else `Connection` names.
HOP = frozenset({
    "connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te",
    "trailer", "transfer-encoding", "upgrade", "expect", "http2-settings",
})  # fmt: skip


class Malformed(Exception):
    """These bytes are not a request that everybody reads alike. `status` answers it."""

    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.status = status


class Broken(Exception):
    """The server's answer cannot be used; the message quotes nothing of it."""


class Left(Exception):
    """The other side of the job's connection is gone."""


@dataclass(frozen=True)
class Head:
    """Method, target and headers (lower-case names) of a request."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    closes: bool

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


class Requests:
    """The requests of one connection, one after another, and the answers to them."""

    def __init__(self, wire: socket.socket) -> None:
        self.wire = wire
        self._buffer = b""
        self._begun = b""
        self._http = h11.Connection(h11.SERVER)

    @property
    def early(self) -> bool:
        """Whether more came than the header."""
        return bool(self._buffer)

    def head(self, deadline: Deadline) -> Head | None:
        """The next request's header; None where the client is done. Raises Malformed, Left."""
        raw = self._raw_head(deadline)
        if raw is None:
            return None
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEAD)
        try:
            self._http.receive_data(raw)
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise Malformed("this is not HTTP/1.1", error.error_status_hint or 400) from None
        if not isinstance(event, h11.Request):
            raise Malformed("this is not HTTP/1.1")
        return _head(event)

    def body(self, deadline: Deadline, most: int, spend: Callable[[int], None]) -> bytes:
        """The body of the request whose header was read last, at most `most` bytes of it; `spend` is told of
        each piece and may refuse it. Raises Malformed, Left.
        """
        parts, size = [], 0
        if self._http.they_are_waiting_for_100_continue:
            self._send(self._http.send(h11.InformationalResponse(status_code=100, headers=[])), deadline)
        if self._buffer:
            self._http.receive_data(self._buffer)
            self._buffer = b""
        while not isinstance(event := self._next(deadline), h11.EndOfMessage):
            size += len(event.data)
            spend(len(event.data))
            if size > most:
                raise Malformed(f"a request to a place that is read has at most {most:,} bytes", 413)
            parts.append(bytes(event.data))
        self._buffer = self._http.trailing_data[0]
        return b"".join(parts)

    def begin(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Answer the request; the header leaves with what follows it. Raises Malformed where these are no
        headers.
        """
        try:
            self._begun = self._http.send(h11.Response(status_code=status, headers=list(headers))) or b""
        except (h11.LocalProtocolError, UnicodeEncodeError):
            raise Malformed("the server's answer cannot be passed on", 502) from None

    def part(self, data: bytes, deadline: Deadline) -> None:
        if data:
            self._follow(self._http.send(h11.Data(data=data)), deadline)

    def end(self, deadline: Deadline) -> None:
        """Raises Malformed where less was passed on than was announced."""
        try:
            self._follow(self._http.send(h11.EndOfMessage()), deadline)
        except h11.LocalProtocolError:
            raise Malformed("the server's answer was cut off", 502) from None

    def _follow(self, data: bytes | None, deadline: Deadline) -> None:
        begun, self._begun = self._begun, b""
        if begun or data:
            self._send(begun + (data or b""), deadline)

    @property
    def again(self) -> bool:
        """Whether another request may follow on this connection."""
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    def plain(self, status: int, why: str, deadline: Deadline) -> None:
        """A whole answer of our own, after which the connection ends. Says nothing that came from outside."""
        text = f"agentsec: {why}\n".encode()
        phrase = "Connection established" if status == 200 else "Refused"
        head = f"HTTP/1.1 {status} {phrase}\r\n"
        if status != 200:
            head += f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(text)}\r\n"
            head += "Connection: close\r\n"
        self._send(head.encode() + b"\r\n" + (text if status != 200 else b""), deadline)

    def _next(self, deadline: Deadline) -> h11.Data | h11.EndOfMessage:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError:
                raise Malformed("this is not HTTP/1.1") from None
            if isinstance(event, h11.Data | h11.EndOfMessage):
                return event
            if event is not h11.NEED_DATA:
                raise Malformed("this is not HTTP/1.1")
            self._http.receive_data(self._receive(deadline))

    def _raw_head(self, deadline: Deadline) -> bytes | None:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            _check_raw(self._buffer)
            data = self._receive(deadline)
            if not data:
                if self._buffer:
                    raise Left
                return None
            self._buffer += data
        raw, self._buffer = self._buffer[: end + 4], self._buffer[end + 4 :]
        _check_raw(raw)
        return raw

    def _receive(self, deadline: Deadline) -> bytes:
        self.wire.settimeout(deadline.left())
        try:
            return self.wire.recv(CHUNK)
        except OSError:
            raise Left from None

    def _send(self, data: bytes | None, deadline: Deadline) -> None:
        left = memoryview(data or b"")
        try:
            while left:
                self.wire.settimeout(deadline.left())
                left = left[self.wire.send(left) :]
        except OSError:
            raise Left from None


def _check_raw(raw: bytes) -> None:
    if len(raw) > MOST_HEAD:
        raise Malformed("its header is too long", 431)
    if _AMBIGUOUS.search(raw):
        raise Malformed("its header has a line end or a byte that servers read differently")


def _head(event: h11.Request) -> Head:
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers)
    names = [name for name, _ in headers]
    if event.http_version not in (b"1.0", b"1.1"):
        raise Malformed("what is spoken here is HTTP/1.1", 505)
    if len(headers) > MOST_HEADERS:
        raise Malformed("it has too many headers", 431)
    if "transfer-encoding" in names and ("content-length" in names or event.http_version < b"1.1"):
        raise Malformed("it says its length in two ways")
    if names.count("content-length") > 1 or names.count("transfer-encoding") > 1 or names.count("host") > 1:
        raise Malformed("it says something twice that must be said once")
    lengths = [value for name, value in event.headers if name == b"content-length"]
    if lengths and not _LENGTH.fullmatch(lengths[0]):
        raise Malformed("its length is no number")
    named = {
        word.strip().lower() for name, value in headers if name == "connection" for word in value.split(",")
    }
    closes = "close" in named or event.http_version < b"1.1"
    kept = tuple(each for each in headers if each[0] not in HOP | named)
    return Head(event.method.decode("ascii"), event.target.decode("ascii"), kept, closes)


class Exchange:
    """One request to a server and its answer, piece by piece. `spend` is told of every byte that comes."""

    def __init__(self, deadline: Deadline, spend: Callable[[int], None]) -> None:
        self._deadline, self._spend = deadline, spend
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEAD)
        self._out = b""
        self._wire: socket.socket | None = None
        self.received = 0
        self.status = 0
        self.headers: tuple[tuple[str, str], ...] = ()

    def write(self, method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes) -> int:
        """Make the request ready; how many bytes it has. Raises Broken where it cannot be sent, without
        saying what.
        """
        try:
            request = h11.Request(method=method, target=target, headers=list(headers))
            data = self._http.send(request) or b""
        except (h11.LocalProtocolError, UnicodeEncodeError):
            raise Broken("a header or the address cannot be sent") from None
        data += (self._http.send(h11.Data(data=body)) or b"") if body else b""
        self._out = data + (self._http.send(h11.EndOfMessage()) or b"")
        return len(self._out)

    def send(self, wire: socket.socket) -> None:
        """Send what was made ready. Raises OSError."""
        self._wire, left = wire, memoryview(self._out)
        while left:
            wire.settimeout(self._deadline.left())
            left = left[wire.send(left) :]
        self._out = b""

    def begin(self) -> None:
        """Read status and headers. Raises Broken for what is not HTTP, OSError, what `spend` raises."""
        for _ in range(10):
            event = self._event()
            if isinstance(event, h11.Response):
                pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers]
                gone = {word.strip().lower() for n, v in pairs if n == "connection" for word in v.split(",")}
                self.status = int(event.status_code)
                self.headers = tuple(each for each in pairs if each[0] not in HOP | gone)
                return
            if not isinstance(event, h11.InformationalResponse):
                break
        raise Broken("its answer is not HTTP")

    def part(self) -> bytes:
        """The next piece of the body, empty at its end. Raises Broken where it is cut off, and as `begin`."""
        while True:
            event = self._event()
            if isinstance(event, h11.Data) and event.data:
                return bytes(event.data)
            if isinstance(event, h11.EndOfMessage):
                return b""
            if not isinstance(event, h11.Data):
                raise Broken("its answer is not HTTP")

    def _event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(self._receive())
        except h11.RemoteProtocolError:
            raise Broken("its answer is not HTTP, or was cut off") from None
        return event

    def _receive(self) -> bytes:
        assert self._wire is not None, "an answer follows a request"
        self._wire.settimeout(self._deadline.left())
        data = self._wire.recv(CHUNK)
        self.received += len(data)
        self._spend(len(data))
        return data
