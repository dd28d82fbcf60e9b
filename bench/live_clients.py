"""The listeners of `bench/live.py`: many sockets in one process, as thin as they can be.

Reads one line of JSON: {"port", "path", "origin", "cookies": [one a socket]}. Prints {"ready": n} once all
are connected, and for each message `"type": "row"` that every socket has received one line: when (monotonic
clock, seconds) the first and the last had it, and the message itself. Ends with its standard input.

A thin client is the hard measure: whatever time it took itself would be on both sides of the comparison.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import time
from dataclasses import dataclass, field
from typing import Any

AT_ONCE = 50
TEXT, CLOSE, PING = 0x81, 0x88, 0x89
ROW, ID = b'"type": "row"', b'"id": "'


@dataclass
class Round:
    """One message on its way to everybody."""

    first: float
    had: int = 0


@dataclass
class Crowd:
    """What all sockets together have received."""

    size: int = 0
    rounds: dict[bytes, Round] = field(default_factory=dict)
    closed: int = 0

    def heard(self, text: bytes) -> None:
        if ROW not in text:
            return
        now = time.monotonic()
        at = text.index(ID) + len(ID)
        found = self.rounds.setdefault(text[at : at + 36], Round(now))
        found.had += 1
        if found.had == self.size:
            tell({"first": found.first, "last": now, "text": text.decode(), "closed": self.closed})


class Listener(asyncio.Protocol):
    """One socket: its handshake, whole frames, an answer to each ping."""

    def __init__(self, crowd: Crowd, request: bytes) -> None:
        self.crowd, self.request = crowd, request
        self.open = asyncio.get_running_loop().create_future()
        self.data = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self.request)

    def connection_lost(self, error: Exception | None) -> None:
        self.crowd.closed += 1

    def data_received(self, data: bytes) -> None:
        self.data += data
        if not self.open.done() and not self._opened():
            return
        while (frame := self._frame()) is not None:
            self._take(*frame)

    def _opened(self) -> bool:
        head, end, rest = self.data.partition(b"\r\n\r\n")
        if end:
            self.data = rest
            self.open.set_result(head.split(b"\r\n", 1)[0].decode())
        return bool(end)

    def _frame(self) -> tuple[int, bytes] | None:
        """The next whole frame, unmasked (RFC 6455, 5.2); None while part of it is missing."""
        data = self.data
        if len(data) < 2:
            return None
        start, size = 2, data[1]
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(data) < start:
                return None
            size = int.from_bytes(data[2:start], "big")
        if len(data) < start + size:
            return None
        self.data = data[start + size :]
        return data[0], data[start : start + size]

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == TEXT:
            self.crowd.heard(payload)
        elif kind == PING:
            self.transport.write(bytes([0x8A, 0x80 | len(payload)]) + bytes(4) + payload)
        elif kind == CLOSE:
            self.transport.close()


def request(told: dict[str, Any], cookie: str) -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        f"GET {told['path']} HTTP/1.1", f"Host: 127.0.0.1:{told['port']}", "Connection: Upgrade",
        "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}",
        f"Origin: http://127.0.0.1:{told['port']}", *([f"Cookie: {cookie}"] if cookie else []), "", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode()


async def opened(told: dict[str, Any], cookie: str, crowd: Crowd, gate: asyncio.Semaphore) -> None:
    async with gate:
        _, listener = await asyncio.get_running_loop().create_connection(
            lambda: Listener(crowd, request(told, cookie)), "127.0.0.1", told["port"]
        )
        status = await asyncio.wait_for(listener.open, 120)
        if " 101 " not in f"{status} ":
            raise SystemExit(f"a socket was refused: {status}")


def tell(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


async def run() -> None:
    told = json.loads(sys.stdin.readline())
    crowd, gate = Crowd(size=len(told["cookies"])), asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as group:
        for cookie in told["cookies"]:
            group.create_task(opened(told, cookie, crowd, gate))
    tell({"ready": crowd.size})
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(run())
