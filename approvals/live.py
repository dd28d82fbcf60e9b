"""Fan-out to browsers: one subscription a topic and process, access read again for every message.

A `Room` belongs to an event loop. The first message on a topic is told at once and what follows within a
moment together: one look into the database says what each audience is told, and then another who may still
listen. A socket whose person was signed out or changed is closed, and so is one
that is too slow; its page comes back and says what it knows already.

The inbox is told from a feed (`approvals.feed`). Redis may lose messages and processes may die before they
publish: every few seconds, and whenever Redis comes back, the room looks for changes that nobody told it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from uuid import UUID
from weakref import WeakKeyDictionary

from django.db import InterfaceError, OperationalError, connection

from approvals import audience, catching_up, changed, feed, standing
from approvals.seats import Packet, Seat
from approvals.standing import Audience, Glance, Roll
from traces import live

GATHER_SECONDS = 0.05
# Topics that ring often, and how many seconds of it become one look: every entry of the log; who looks.
SLOW = {"traces": 0.5, "looking": 1.0}
COUNT_SECONDS = 0.5
RECHECK_SECONDS = 5.0
PUSH_SECONDS = 1.0
INBOX = "inbox"

SIGNED_OUT = 4401
FORBIDDEN = 4403
CHANGED = 4409
TOO_SLOW = 1013

T = TypeVar("T")
Told = Mapping[Audience, tuple[str, ...]]
RESYNC = Packet((audience.RESYNC,))
log = logging.getLogger(__name__)
# Threads of its own: neither handshakes nor pages that catch up may hold up what is told to everybody.
_telling = ThreadPoolExecutor(2, thread_name_prefix="live-telling")
_returning = ThreadPoolExecutor(1, thread_name_prefix="live-returning")


@dataclass(frozen=True)
class Hall:
    """The sockets of one topic, sorted once as long as nobody comes or goes."""

    seats: tuple[Seat, ...]
    roll: Roll
    by_audience: Mapping[Audience, list[Seat]]

    @classmethod
    def of(cls, taken: Iterable[Seat]) -> Hall:
        sitting = tuple(taken)
        by_audience: defaultdict[Audience, list[Seat]] = defaultdict(list)
        for seat in sitting:
            by_audience[seat.guest.audience].append(seat)
        return cls(sitting, Roll(tuple(seat.guest for seat in sitting)), by_audience)


@dataclass
class Known:
    """How far the room itself knows the feed, and which changes it has told since, by their numbers."""

    cursor: feed.Cursor
    told: dict[UUID, int] = field(default_factory=dict)


class Room:
    """Every socket of one event loop."""

    def __init__(self) -> None:
        self._seats: set[Seat] = set()
        self._topics: defaultdict[str, set[Seat]] = defaultdict(set)
        self._halls: dict[str, Hall] = {}
        # Kept, since the loop itself holds its tasks weakly.
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._passing: set[asyncio.Task[None]] = set()
        self._known: Known | None = None
        # One teller of the inbox at a time: a row must never be followed by an older state of it.
        self._inbox = asyncio.Lock()
        self._counting = asyncio.Event()

    def enter(self, seat: Seat) -> None:
        """Listen from now on, and hear what changed since the page was read."""
        self._seats.add(seat)
        seat.begin()
        for topic in seat.topics:
            self._topics[topic].add(seat)
            self._halls.pop(topic, None)
            self._start(topic, partial(self._listen, topic))
        self._greet(seat)
        self._start("recheck", self._recheck)
        self._start("push", self._watch_push)
        self._start("count", self._count)

    def leave(self, seat: Seat) -> None:
        """Listen no more; the last one to leave a topic ends its subscription."""
        seat.finish()
        self._seats.discard(seat)
        for topic in seat.topics:
            self._topics[topic].discard(seat)
            self._halls.pop(topic, None)
            if not self._topics[topic]:
                del self._topics[topic]
                self._stop(topic)
        if INBOX not in self._topics:
            self._known = None
        if not self._seats:
            for name in ("recheck", "push", "count"):
                self._stop(name)

    def _start(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        running = self._tasks.get(name)
        if running is None or running.done():
            self._tasks[name] = asyncio.create_task(work(), name=f"live-{name}")

    def _stop(self, name: str) -> None:
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()

    def _hall(self, topic: str) -> Hall:
        if topic not in self._halls:
            self._halls[topic] = Hall.of(self._topics.get(topic, ()))
        return self._halls[topic]

    def _greet(self, seat: Seat) -> None:
        """What changed between its page and its first message nobody told it."""
        if seat.since is None or INBOX not in seat.topics:
            self._put(seat, RESYNC)
            return
        self._put(seat, Packet(tuple(audience.rung(topic) for topic in sorted(seat.topics - {INBOX}))))
        seat.held = []
        self._pass(self._catch_up(seat), "live-catch-up")

    async def _catch_up(self, seat: Seat) -> None:
        try:
            await self._know()
            packet = await _ask(_returning, partial(catching_up.missed, seat.guest, seat.since))
        except Exception:
            log.exception("a page could not be told what it missed")
            packet = RESYNC
        if packet is None:
            self._end(seat, CHANGED)
        elif not seat.caught_up(packet):
            self._end(seat, TOO_SLOW)

    async def _listen(self, topic: str) -> None:
        with live.hub().subscribe(topic) as subscription:
            # Whoever entered before this line ran may have missed something.
            messages: list[dict[str, Any]] = [dict(live.RESYNC)]
            while True:
                if self._topics.get(topic):
                    await self._guarded(topic, self._inbox_told if topic == INBOX else self._told, messages)
                await asyncio.sleep(SLOW.get(topic, GATHER_SECONDS))
                messages = await _gathered(subscription)

    async def _guarded(self, topic: str, tell: Callable[..., Awaitable[None]], *given: Any) -> None:
        """What cannot be told costs that message: each page is told to read again instead."""
        try:
            await tell(topic, *given)
        except Exception:
            log.exception("live push on %s failed", topic)
            for seat in self._hall(topic).seats:
                self._put(seat, RESYNC)

    async def _told(self, topic: str, messages: list[dict[str, Any]]) -> None:
        await self._tell(topic, lambda audiences, _: audience.notes(topic, audiences, messages))

    async def _tell(self, topic: str, work: Callable[[Iterable[Audience], Glance], Told]) -> Hall:
        """What `work` says for each audience, to those of them who still are what they were."""
        hall = self._hall(topic)

        def look() -> tuple[Told, Mapping[int, str]]:
            glance = Glance(hall.roll.vouched)
            return work(list(hall.by_audience), glance), standing.fallen_since(hall.roll, glance)

        # In one thread: two would only take the interpreter from each other.
        told, fallen = await _ask(_telling, look)
        for place, why in fallen.items():
            self._end(hall.seats[place], SIGNED_OUT if why == standing.SIGNED_OUT else CHANGED)
        for listeners, seats in hall.by_audience.items():
            packet = Packet(told[listeners])
            for seat in seats:
                self._put(seat, packet)
        return hall

    async def _inbox_told(self, topic: str, messages: list[dict[str, Any]]) -> None:
        """Rows at once; then, where something may have been lost, what the feed knows beside them."""
        actions = [message for message in messages if message.get("type") == "action"]
        if len(actions) < len(messages):
            await self._sweep(topic)
        if actions:
            async with self._inbox:
                await self._rows_told(topic, audience.named(actions))

    async def _rows_told(self, topic: str, actions: Iterable[UUID]) -> None:
        """Redis says which actions changed, and nothing else of what it says is believed."""
        last: dict[UUID, int] = {}

        def work(audiences: Iterable[Audience], glance: Glance) -> Told:
            rows = audience.rows_of(actions, glance)
            last.update({row.action.pk: changed.version(row.action) for row in rows})
            return audience.row_notes(rows, audiences)

        await self._tell(topic, work)
        if self._known is not None:
            self._known.told.update(last)
        self._counting.set()

    async def _sweep(self, topic: str) -> None:
        """Tell what changed and was not told, and move on in the feed."""
        known = await self._know()
        async with self._inbox:
            news = await _ask(_telling, partial(feed.since, known.cursor))
            if news.changed is None:
                for seat in self._hall(topic).seats:
                    self._put(seat, RESYNC)
                self._counting.set()
            elif missed := {key: n for key, n in news.changed.items() if n > known.told.get(key, -1)}:
                await self._rows_told(topic, missed)
            self._known = Known(news.cursor, dict(news.changed or {}))

    async def _know(self) -> Known:
        """Where the room stands; from its first moment on, so that no page ever knows less."""
        async with self._inbox:
            if self._known is None:
                self._known = Known(await _ask(_telling, feed.cursor))
            return self._known

    async def _count(self) -> None:
        """How many wait: after the rows, and not more often than people read numbers."""
        while True:
            await self._counting.wait()
            await asyncio.sleep(COUNT_SECONDS)
            self._counting.clear()
            if self._topics.get(INBOX):
                await self._guarded(INBOX, self._counted)

    async def _counted(self, topic: str) -> None:
        counts: dict[Audience, int] = {}

        def work(audiences: Iterable[Audience], _: Glance) -> Told:
            counts.update(audience.waiting(audiences))
            return dict.fromkeys(counts, ())

        hall = await self._tell(topic, work)
        cursor = self._known.cursor if self._known else None
        for listeners, seats in hall.by_audience.items():
            packet = Packet((catching_up.counted(counts[listeners], cursor),))
            for seat in seats:
                if seat.waiting != counts[listeners]:
                    seat.waiting = counts[listeners]
                    self._put(seat, packet)

    async def _recheck(self) -> None:
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            hall = Hall.of(self._seats)
            try:
                fallen = await _ask(_telling, partial(standing.fallen, hall.roll))
            except Exception:
                log.exception("live push could not read who may still listen")
                for seat in hall.seats:
                    self._end(seat, CHANGED)
                continue
            for place, why in fallen.items():
                self._end(hall.seats[place], SIGNED_OUT if why == standing.SIGNED_OUT else CHANGED)
            if self._topics.get(INBOX):
                await self._guarded(INBOX, self._sweep)

    async def _watch_push(self) -> None:
        """Tell pages when Redis is lost and found: until then they read by themselves from time to time."""
        while True:
            await asyncio.sleep(PUSH_SECONDS)
            connected = live.hub().connected.is_set()
            packet = Packet((json.dumps({"type": "push", "on": connected}),))
            for seat in tuple(self._seats):
                if seat.pushed != connected:
                    seat.pushed = connected
                    self._put(seat, packet)

    def _put(self, seat: Seat, packet: Packet) -> None:
        if not seat.put(packet):
            self._end(seat, TOO_SLOW)

    def _end(self, seat: Seat, code: int) -> None:
        if seat.ended:
            return
        self.leave(seat)
        self._pass(_end_quietly(seat.wire.end, code), "live-close")

    def _pass(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)


async def _ask(threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, _asked, work)


def _asked(work: Callable[[], T]) -> T:
    """In a thread that keeps its connection: to be lent one for each message, and to ask first whether it is
    whole, takes longer than the question. A database that was restarted is dialled again.
    """
    try:
        return work()
    except (OperationalError, InterfaceError):
        connection.close()
        return work()


async def _end_quietly(end: Callable[[int], Awaitable[None]], code: int) -> None:
    # The browser may have left already, which is what was wanted.
    with contextlib.suppress(OSError, RuntimeError):
        await end(code)


async def _gathered(subscription: live.Subscription) -> list[dict[str, Any]]:
    """The next message, and those that came with it: a burst costs one look at the database."""
    return [await subscription.next(), *subscription.waiting()]


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
