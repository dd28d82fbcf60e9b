"""What the way out costs: a request through a run's proxy against the same request sent directly.

Both open a connection a request to the same server on loopback, in turns. What the gate does is not counted:
one indexed question to PostgreSQL a request, and entries that a thread of their own appends meanwhile.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

from django.conf import settings

from approvals.egress import wayout
from approvals.egress.gate import Told
from approvals.sandbox import Job

ROUNDS = 400
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


class _Open:
    """A gate that always holds."""

    def check(self) -> None:
        return

    def tell(self, told: Told) -> None:
        if told.kind == "refused":
            raise RuntimeError(f"the measurement was refused: {told.why}")


def seconds(rounds: int = ROUNDS) -> tuple[float, float]:
    """The medians of a direct and of a proxied request, in seconds."""
    direct, proxied = [], []
    with _server() as port, _proxy(port) as through:
        host = f"127.0.0.1:{port}"
        for _ in range(rounds):
            direct.append(_timed(port, f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            asked = f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            proxied.append(_timed(through, asked))
    return median(direct), median(proxied)


def ratio(rounds: int = ROUNDS) -> float:
    """A proxied request over a direct one."""
    direct, proxied = seconds(rounds)
    return proxied / direct


def _timed(port: int, asked: str) -> float:
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), 5) as wire:
        wire.sendall(asked.encode())
        answer = b""
        while piece := wire.recv(4096):
            answer += piece
    if not answer.endswith(b"ok"):
        raise RuntimeError("the measured request was not answered")
    return time.perf_counter() - began


@contextmanager
def _proxy(port: int) -> Iterator[int]:
    job = Job(argv=("true",), egress=(f"http://127.0.0.1:{port}/*",))
    listed = settings.AGENTSEC_FETCH_ALLOW
    settings.AGENTSEC_FETCH_ALLOW = [f"127.0.0.1:{port}"]
    try:
        with wayout.opened(job, gate=_Open(), read=str) as out, _listener() as listener:
            out.serve(os.dup(listener.fileno()))
            yield listener.getsockname()[1]
    finally:
        settings.AGENTSEC_FETCH_ALLOW = listed


@contextmanager
def _server() -> Iterator[int]:
    with _listener() as listener:
        thread = threading.Thread(target=_answering(listener), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _answering(listener: socket.socket) -> Callable[[], None]:
    def answer() -> None:
        while True:
            try:
                wire, _ = listener.accept()
            except OSError:
                return
            with wire:
                wire.recv(4096)
                wire.sendall(_ANSWER)

    return answer


def _listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))
