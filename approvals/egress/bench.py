"""What the way out costs: a request through a run's proxy against the same request sent directly.

Client and server are processes of their own, as a job and the world are; the client opens a connection a
request, directly and through the proxy in turns. What the gate does is not counted: one indexed question to
PostgreSQL a request, and entries that a thread of their own appends meanwhile.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from approvals.egress import wayout
from approvals.egress.gate import Told
from approvals.sandbox import Job

ROUNDS = 400
_SERVER = """
import socket, sys
listener = socket.socket(fileno=int(sys.argv[1]))
while True:
    wire, _ = listener.accept()
    with wire:
        wire.recv(4096)
        wire.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok")
"""
_CLIENT = """
import json, socket, sys, time
from statistics import median
server, proxy, rounds = map(int, sys.argv[1:])
host = f"127.0.0.1:{server}"
def ask(port, target):
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), 5) as wire:
        wire.sendall(f"GET {target} HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n".encode())
        answer = b""
        while piece := wire.recv(4096):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"ok"), answer
    return time.perf_counter() - began
pairs = [(ask(server, "/"), ask(proxy, f"http://{host}/")) for _ in range(rounds)]
print(json.dumps([median(times) for times in zip(*pairs)]))
"""


class _Open:
    """A gate that always holds."""

    def check(self) -> None:
        return

    def tell(self, told: Told) -> None:
        if told.kind == "refused":
            raise RuntimeError(f"the measurement was refused: {told.why}")


def seconds(rounds: int = ROUNDS) -> tuple[float, float]:
    """The medians of a direct and of a proxied request, in seconds."""
    with _server() as server, _proxy(server) as proxy:
        argv = [sys.executable, "-I", "-c", _CLIENT, str(server), str(proxy), str(rounds)]
        direct, proxied = json.loads(subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout)
    return direct, proxied


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
        number = listener.fileno()
        argv = [sys.executable, "-I", "-c", _SERVER, str(number)]
        with subprocess.Popen(argv, pass_fds=[number]) as process:
            try:
                yield listener.getsockname()[1]
            finally:
                process.kill()


def _listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))
