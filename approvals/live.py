"""Fan-out to browsers: one subscription a topic and process, access read again for every message.

A `Room` belongs to an event loop. Whatever arrives for a topic is gathered for a moment, then one look into
the database says which of the sockets that listen may still have it, and each audience's answer is rendered
once. A socket that is too slow, or whose person was signed out or changed, is closed; its page comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async

from approvals import audience
from approvals.audience import Guest, Note
from traces import live

GATHER_SECONDS = 0.05
# Topics that ring often, and how many seconds of it become one look: every entry of the log; who looks.
SLOW = {"traces": 0.5, "looking": 1.0}
RECHECK_SECONDS = 5.0
PUSH_SECONDS = 1.0
QUEUE = 200

SIGNED_OUT = 4401
FORBIDDEN = 4403
CHANGED = 4409
TOO_SLOW = 1013

log = logging.getLogger(__name__)


class Wire(Protocol):
    """The browser's end: what a consumer gives the room."""

    async def tell(self, text: str) -> None: ...
    async def end(self, code: int) -> None: ...


@dataclass(eq=False)
class Seat:
    """One socket: who it is, as of its handshake, and what it listens to."""

    guest: Guest
    topics: frozenset[str]
    wire: Wire
    queue: asyncio.Queue[str] = field(default_factory=lambda: asyncio.Queue(QUEUE))
    writer: asyncio.Task[None] | None = None
    ended: bool = False
    pushed: bool = True  # whether it believes that Redis is there


class Room:
    """Every socket of one event loop."""

    def __init__(self) -> None:
        self._seats: set[Seat] = set()
        self._topics: defaultdict[str, set[Seat]] = defaultdict(set)
        # Kept, since the loop itself holds its tasks weakly.
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def enter(self, seat: Seat) -> None:
        """Listen from now on."""
        self._seats.add(seat)
        seat.writer = asyncio.create_task(self._write(seat), name="live-writer")
        for topic in seat.topics:
            self._topics[topic].add(seat)
            self._start(topic, partial(self._listen, topic))
        # What changed between its page and this line nobody told it; now that it listens it reads again.
        self._say(seat, dict(live.RESYNC))
        self._start("recheck", self._recheck)
        self._start("push", self._watch_push)

    def leave(self, seat: Seat) -> None:
        """Listen no more; the last one to leave a topic ends its subscription."""
        seat.ended = True
        self._seats.discard(seat)
        if seat.writer is not None:
            seat.writer.cancel()
        for topic in seat.topics:
            self._topics[topic].discard(seat)
            if not self._topics[topic]:
                del self._topics[topic]
                self._stop(topic)
        if not self._seats:
            self._stop("recheck")
            self._stop("push")

    def _start(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        running = self._tasks.get(name)
        if running is None or running.done():
            self._tasks[name] = asyncio.create_task(work(), name=f"live-{name}")

    def _stop(self, name: str) -> None:
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()

    async def _listen(self, topic: str) -> None:
        with live.hub().subscribe(topic) as subscription:
            # Whoever entered before this line ran may have missed something.
            messages: list[dict[str, Any]] = [dict(live.RESYNC)]
            while True:
                seats = self._topics.get(topic)
                if seats:
                    await self._guarded(topic, tuple(seats), messages)
                messages = await _gathered(subscription, SLOW.get(topic, GATHER_SECONDS))

    async def _guarded(self, topic: str, seats: tuple[Seat, ...], messages: list[dict[str, Any]]) -> None:
        """One message that cannot be told costs that message: each page is told to read again instead."""
        try:
            await self._fan_out(topic, seats, messages)
        except Exception:
            log.exception("live push on %s failed", topic)
            for seat in seats:
                self._say(seat, {"type": "resync"})

    async def _fan_out(self, topic: str, seats: tuple[Seat, ...], messages: list[dict[str, Any]]) -> None:
        told = await database_sync_to_async(audience.notes)(topic, [seat.guest for seat in seats], messages)
        for seat, note in zip(seats, told, strict=True):
            self._take(seat, note)

    async def _recheck(self) -> None:
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            seats = tuple(self._seats)
            try:
                standing = await database_sync_to_async(audience.standing)([seat.guest for seat in seats])
            except Exception:
                log.exception("live push could not read who may still listen")
                for seat in seats:
                    self._end(seat, CHANGED)
                continue
            for seat in seats:
                self._take(seat, Note(ended=audience.ended(seat.guest, standing)))

    async def _watch_push(self) -> None:
        """Tell pages when Redis is lost and found: until then they read by themselves from time to time."""
        while True:
            await asyncio.sleep(PUSH_SECONDS)
            connected = live.hub().connected.is_set()
            for seat in tuple(self._seats):
                if seat.pushed != connected:
                    seat.pushed = connected
                    self._say(seat, {"type": "push", "on": connected})

    def _take(self, seat: Seat, note: Note) -> None:
        if note.ended:
            self._end(seat, SIGNED_OUT if note.ended == "signed out" else CHANGED)
        for text in note.texts:
            self._put(seat, text)

    def _say(self, seat: Seat, message: dict[str, Any]) -> None:
        self._put(seat, json.dumps(message))

    def _put(self, seat: Seat, text: str) -> None:
        if seat.ended:
            return
        try:
            seat.queue.put_nowait(text)
        except asyncio.QueueFull:
            self._end(seat, TOO_SLOW)

    def _end(self, seat: Seat, code: int) -> None:
        if seat.ended:
            return
        self.leave(seat)
        closing = asyncio.create_task(_end_quietly(seat.wire.end, code), name="live-close")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _write(self, seat: Seat) -> None:
        """One writer a socket, so that a slow browser holds up nobody else."""
        with contextlib.suppress(OSError, RuntimeError):
            while True:
                await seat.wire.tell(await seat.queue.get())


async def _end_quietly(end: Callable[[int], Awaitable[None]], code: int) -> None:
    # The browser may have left already, which is what was wanted.
    with contextlib.suppress(OSError, RuntimeError):
        await end(code)


async def _gathered(subscription: live.Subscription, seconds: float) -> list[dict[str, Any]]:
    """The next message and what follows within a moment, so that a burst costs one look at the database."""
    messages = [await subscription.get()]
    await asyncio.sleep(seconds)
    while (message := await subscription.get(timeout=0)) is not None:
        messages.append(message)
    return [message for message in messages if message is not None]


_rooms: WeakKeyDictionary[asyncio.AbstractEventLoop, Room] = WeakKeyDictionary()


def room() -> Room:
    """The room of the running event loop."""
    return _rooms.setdefault(asyncio.get_running_loop(), Room())


def topics_of(wanted: Iterable[str]) -> frozenset[str]:
    """The topics that a page may ask for, at most eight. Raises ValueError for anything else."""
    topics = frozenset(wanted)
    if not 1 <= len(topics) <= 8 or not all(audience.KNOWN.fullmatch(topic) for topic in topics):
        raise ValueError("unknown topic")
    return topics
