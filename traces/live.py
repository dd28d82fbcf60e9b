"""Live push: who waits for a topic hears of it the moment a transaction commits.

One Redis channel carries ids only; whoever hears one reads the truth from PostgreSQL under its own rights.
Redis may lose messages or be gone: each (re)connection tells every subscriber to read again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from django.conf import settings
from django.db import transaction
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff

CHANNEL = "agentsec"
RESYNC: Mapping[str, Any] = {"type": "resync"}
QUEUE = 1_000
PING_SECONDS = 10.0
MAX_PAUSE = 5.0
SILENCE_SECONDS = 1.0
EVERY_TOPIC = "*"

log = logging.getLogger(__name__)


def publish(topic: str, message: Mapping[str, Any]) -> None:
    """Tell the subscribers of a topic, once the current transaction commits. The message holds ids only."""
    publish_all([topic], message)


def publish_all(topics: Iterable[str], message: Mapping[str, Any]) -> None:
    """One message to several topics, on commit. A Redis that is gone costs liveness, never the request."""
    named = list(topics)
    transaction.on_commit(lambda: announce(named, message))


def announce(topics: Iterable[str], message: Mapping[str, Any]) -> None:
    """Tell subscribers now; for what already stands committed."""
    if time.monotonic() < _silence.until:
        return
    client = _client(settings.REDIS_URL)
    try:
        if _silence.lost:
            client.publish(CHANNEL, _envelope([EVERY_TOPIC], RESYNC))
            _silence.lost = False
        client.publish(CHANNEL, _envelope(topics, message))
    except redis.RedisError as error:
        _silence.until, _silence.lost = time.monotonic() + SILENCE_SECONDS, True
        log.warning("live push failed: %s", error)


def _envelope(topics: Iterable[str], message: Mapping[str, Any]) -> str:
    return json.dumps({"topics": list(topics), "message": dict(message)})


@dataclass
class _Silence:
    """After a failure, a while without trying: a frozen Redis would cost every request its timeout."""

    until: float = 0.0
    lost: bool = False


_silence = _Silence()


@lru_cache(maxsize=4)
def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=1)


class Subscription:
    """The messages of one topic since it was made. Close it, or use it in a `with` block."""

    def __init__(self, hub: Hub, topic: str) -> None:
        self.topic = topic
        self._hub = hub
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(QUEUE)

    def put(self, message: Mapping[str, Any]) -> None:
        """A subscriber that does not keep up loses the details and is told to read again."""
        if self._queue.full():
            while not self._queue.empty():
                self._queue.get_nowait()
            message = RESYNC
        self._queue.put_nowait(dict(message))

    async def next(self) -> dict[str, Any]:
        """The next message, however long it takes."""
        return await self._queue.get()

    def waiting(self) -> Iterator[dict[str, Any]]:
        """The messages that are there already."""
        while not self._queue.empty():
            yield self._queue.get_nowait()

    async def get(self, timeout: float | None = None) -> dict[str, Any] | None:
        """The next message, or None after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                return await self._queue.get()
        except TimeoutError:
            return None

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        while True:
            yield await self.next()

    def close(self) -> None:
        self._hub.forget(self)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self.close()


class Hub:
    """The one Redis subscription of an event loop, and its local fan-out."""

    def __init__(self, url: str = "") -> None:
        self._url = url
        self._topics: defaultdict[str, set[Subscription]] = defaultdict(set)
        # The loop holds tasks weakly: without this reference the reader could be collected while it waits.
        self._reader: asyncio.Task[None] | None = None
        self.connected = asyncio.Event()

    def start(self) -> None:
        """Begin to listen, in the running loop. Starting twice is starting once."""
        if self._reader is None or self._reader.done():
            self._reader = asyncio.get_running_loop().create_task(self._read_for_ever(), name="live-hub")

    async def stop(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
            self._reader = None

    def subscribe(self, topic: str) -> Subscription:
        """Hear a topic from now on. Subscribe first, then read the database, then wait: nothing is missed."""
        self.start()
        subscription = Subscription(self, topic)
        self._topics[topic].add(subscription)
        return subscription

    async def wait(self, topic: str, timeout: float) -> dict[str, Any] | None:
        """The next message on a topic, or None after `timeout` seconds."""
        with self.subscribe(topic) as subscription:
            return await subscription.get(timeout)

    def forget(self, subscription: Subscription) -> None:
        self._topics[subscription.topic].discard(subscription)
        if not self._topics[subscription.topic]:
            del self._topics[subscription.topic]

    async def _read_for_ever(self) -> None:
        pause = 0.1
        while True:
            try:
                await self._read()
            except (redis.RedisError, OSError) as error:
                pause = 0.1 if self.connected.is_set() else min(pause * 2, MAX_PAUSE)
                log.warning("live hub lost Redis, again in %.1f s: %s", pause, error)
            finally:
                self.connected.clear()
            await asyncio.sleep(pause)

    async def _read(self) -> None:
        # Retries off: redis-py would reconnect silently, and what was published meanwhile be lost unseen.
        client = redis.asyncio.Redis.from_url(
            self._url or settings.REDIS_URL, socket_timeout=None, socket_connect_timeout=5,
            retry=AsyncRetry(NoBackoff(), 0),
        )  # fmt: skip
        async with client, client.pubsub() as pubsub:
            await pubsub.subscribe(CHANNEL)
            while True:
                await self._hear(pubsub)

    async def _hear(self, pubsub: redis.asyncio.client.PubSub) -> None:
        message = await pubsub.get_message(timeout=PING_SECONDS)
        if message is None:
            await pubsub.ping()
            message = await pubsub.get_message(timeout=PING_SECONDS)
            if message is None:
                raise redis.ConnectionError("no answer to a ping")
        if message["type"] == "subscribe":
            self.connected.set()
            self._tell_all(RESYNC)
        elif message["type"] == "message":
            self._deliver(message["data"])

    def _deliver(self, data: bytes) -> None:
        try:
            envelope = json.loads(data)
            topics, message = list(map(str, envelope["topics"])), dict(envelope["message"])
        except (ValueError, KeyError, TypeError) as error:
            log.warning("live hub heard what it does not understand: %s", error)
            return
        if EVERY_TOPIC in topics:
            self._tell_all(message)
        for topic in topics:
            for subscription in tuple(self._topics.get(topic, ())):
                subscription.put({"topic": topic, **message})

    def _tell_all(self, message: Mapping[str, Any]) -> None:
        for subscriptions in tuple(self._topics.values()):
            for subscription in tuple(subscriptions):
                subscription.put(message)


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub() -> Hub:
    """The hub of the running event loop, started."""
    loop = asyncio.get_running_loop()
    found = _hubs.get(loop)
    if found is None:
        found = _hubs[loop] = Hub()
    found.start()
    return found
