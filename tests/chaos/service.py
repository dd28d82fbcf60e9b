"""A company's own HTTP service on loopback: it counts the requests of each call, by the mark in its path."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "sk-chaos-0123456789-abcdef"


class Service(ThreadingHTTPServer):
    """`open/MARK` takes anybody's request, `paid/MARK` only who says the key, which it says back."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.counts, self.odd, self.lock = Counter[str](), list[str](), threading.Lock()

    @property
    def entry(self) -> str:
        """What lists it in AGENTSEC_FETCH_ALLOW."""
        return f"127.0.0.1:{self.server_port}"

    def url(self, path: str) -> str:
        return f"http://{self.entry}/{path}"

    def count(self, mark: str) -> int:
        with self.lock:
            return self.counts[mark]

    def note(self, path: str, authorization: str) -> int:
        """Count one request; the status it is answered with."""
        door, mark = path.strip("/").split("/")[:2]
        with self.lock:
            self.counts[mark] += 1
            if door == "paid" and authorization != f"Bearer {KEY}":
                self.odd.append(f"a request came with {authorization[:60]!r} where the key belongs")
                return 401
        return 200


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        said = self.headers.get("Authorization", "")
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        status = self.server.note(self.path, said)
        body = f"you said {said}".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what matters is counted."""


@contextmanager
def serving() -> Iterator[Service]:
    """The service for as long as the block lasts."""
    with Service() as service:
        thread = threading.Thread(target=service.serve_forever, args=[0.1], name="service", daemon=True)
        thread.start()
        try:
            yield service
        finally:
            service.shutdown()
            thread.join(5)
