"""A real HTTP server on loopback that answers as a test says, and keeps what it was sent."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Answer = bytes | Callable[[socket.socket], None]
OK = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"


@dataclass
class Got:
    """One request as it arrived."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    port: int
    answers: list[Answer] = field(default_factory=list)
    got: list[Got] = field(default_factory=list)
    tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def entry(self) -> str:
        """What lists it in AGENTSEC_FETCH_ALLOW."""
        return f"127.0.0.1:{self.port}"

    def serve(self, wire: socket.socket) -> None:
        with contextlib.suppress(OSError), wire:
            if self.tls is None:
                self._answer(wire)
                return
            with self.tls.wrap_socket(wire, server_side=True) as secure:
                self._answer(secure)

    def _answer(self, wire: socket.socket) -> None:
        self.got.append(_read(wire))
        answer = self.answers.pop(0) if self.answers else OK
        if callable(answer):
            answer(wire)
        else:
            wire.sendall(answer)


def _read(wire: socket.socket) -> Got:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = wire.recv(65536)
        if not piece:
            raise OSError("left early")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    line, *rest = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in rest)}
    while len(body) < int(headers.get("content-length", 0)):
        body += wire.recv(65536)
    return Got(line, headers, body)


@contextmanager
def running(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver for as long as the block lasts."""
    listener = socket.create_server(("127.0.0.1", 0))
    receiver = Receiver(listener.getsockname()[1], tls=tls)

    def accept() -> None:
        while True:
            try:
                wire, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=receiver.serve, args=(wire,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
