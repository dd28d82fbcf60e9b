"""One socket in the room: what waits for it, and how it is written to.

Where the server lets whole frames through (`agentsec_site.wire`), a message is framed once and handed to each
socket's transport, which is what the bare library does and a little less. Where not, each socket has a queue
and a writer of its own. Either way a slow browser holds up nobody, and ends when too much waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from approvals.feed import Cursor
from approvals.frames import Write, framed
from approvals.standing import Guest

QUEUE = 200  # messages
SLOW_BYTES = 512 * 1024  # about as many, beyond what the kernel takes


class Wire(Protocol):
    """The browser's end: what a consumer gives the room. `write` takes a whole frame and answers how many
    bytes wait; None where the server offers no such thing."""

    write: Write | None

    async def tell(self, text: str) -> None: ...
    async def end(self, code: int) -> None: ...


@dataclass(frozen=True)
class Packet:
    """Some messages for many sockets, framed once."""

    texts: tuple[str, ...]

    @cached_property
    def frames(self) -> bytes:
        return framed(self.texts)


@dataclass(eq=False)
class Seat:
    """One socket: who it is, as of its handshake, and what it listens to."""

    guest: Guest
    topics: frozenset[str]
    wire: Wire
    since: Cursor | None = None  # what its page knows already
    held: list[Packet] | None = None  # what waits until it has caught up
    queue: asyncio.Queue[str] = field(default_factory=lambda: asyncio.Queue(QUEUE))
    writer: asyncio.Task[None] | None = None
    ended: bool = False
    pushed: bool = True  # whether it believes that Redis is there
    waiting: int = -1  # the last count that it was told

    def begin(self) -> None:
        """Start its writer, if it needs one."""
        if self.wire.write is None:
            self.writer = asyncio.create_task(self._write(), name="live-writer")

    def finish(self) -> None:
        self.ended = True
        if self.writer is not None:
            self.writer.cancel()

    def put(self, packet: Packet) -> bool:
        """Send this, after what it waits for; whether the socket keeps up."""
        if self.ended or not packet.texts:
            return True
        if self.held is not None:
            self.held.append(packet)
            return len(self.held) <= QUEUE
        if self.wire.write is not None:
            return self.wire.write(packet.frames) <= SLOW_BYTES
        return self._queued(packet)

    def caught_up(self, first: Packet) -> bool:
        """What it missed first, then what came meanwhile."""
        after, self.held = self.held or [], None
        return [self.put(packet) for packet in (first, *after)].count(False) == 0

    def _queued(self, packet: Packet) -> bool:
        try:
            for text in packet.texts:
                self.queue.put_nowait(text)
        except asyncio.QueueFull:
            return False
        return True

    async def _write(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            while True:
                await self.wire.tell(await self.queue.get())
