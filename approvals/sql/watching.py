"""A connection under watch: cancelled when the work must stop, is late, or grows too large."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import psycopg

LOOK_SECONDS = 0.02
CANCEL_SECONDS = 0.4  # a server that has not stopped by then is hung up on, which it takes for an end too


class Watch:
    """`why` is stopped, wall or memory once the watch had to act, else ""."""

    def __init__(
        self, connection: psycopg.Connection[Any], *, stop: threading.Event, seconds: float, memory: int
    ) -> None:
        self.connection, self.stop, self.memory = connection, stop, memory
        self.until, self.why, self.done = time.monotonic() + seconds, "", threading.Event()
        self.process = psutil.Process()
        self.before = self.process.memory_info().rss

    def run(self) -> None:
        while not self.done.wait(LOOK_SECONDS):
            self.why = self._reason()
            if self.why:
                self._end()
                break

    def _reason(self) -> str:
        if self.stop.is_set():
            return "stopped"
        if time.monotonic() > self.until:
            return "wall"
        # One value may be a gigabyte, which libpq reads whole before anybody can count it.
        return "memory" if self.process.memory_info().rss > self.before + self.memory else ""

    def _end(self) -> None:
        if self.why != "memory":
            with contextlib.suppress(psycopg.Error, OSError):
                self.connection.cancel_safe(timeout=CANCEL_SECONDS)
            if self.done.wait(CANCEL_SECONDS):
                return
        self._hang_up()

    def _hang_up(self) -> None:
        """Shuts the socket under the driver, which no other thread may close: it then sees an end of file."""
        with contextlib.suppress(psycopg.Error, OSError), socket.socket(fileno=self._copy()) as way:
            way.shutdown(socket.SHUT_RDWR)

    def _copy(self) -> int:
        return os.dup(self.connection.fileno())


@contextmanager
def watched(
    connection: psycopg.Connection[Any], *, stop: threading.Event, seconds: float, memory: int
) -> Iterator[Watch]:
    """Watch a connection from another thread until the block ends."""
    watch = Watch(connection, stop=stop, seconds=seconds, memory=memory)
    thread = threading.Thread(target=watch.run, name="sql watch", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        watch.done.set()
        thread.join()
