"""Long polls: wait until something is settled, woken by push, without a thread, a connection or a query loop.

Subscribe first, then read, then wait: what happens between reading and waiting is heard. Only while the hub
has lost Redis does a poll read again by itself, every two seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.db import connection

from traces import live

FALLBACK_SECONDS = 2.0

T = TypeVar("T")


@dataclass(frozen=True)
class Seen:
    """One look at what is waited for: the HTTP status and body to answer with, were the wait over now.

    `again_in` (seconds) is when a look is worth while although nobody will tell, for example at `not_before`.
    `news` ends the wait although nothing is settled, and so does a `mark` other than that of the first look.
    """

    status: int
    body: Mapping[str, Any]
    again_in: float | None = None
    news: bool = False
    mark: str = ""

    @property
    def settled(self) -> bool:
        return self.status != 202


async def settle(
    *, topic: str, look: Callable[[], Seen], look_again: Callable[[], Seen], seconds: float
) -> Seen:
    """Look until it is settled or `seconds` have passed; the last look is what is answered.

    Looks run in a thread with a database connection of its own, which is given back before waiting. Whoever
    has waited may have lost the right to see it meanwhile: `look_again` asks that too.
    """
    if seconds <= 0:
        return await in_thread(look)
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    hub = live.hub()
    with hub.subscribe(topic) as news:
        first: Seen | None = None
        while True:
            seen = await in_thread(look)
            first = first or seen
            left = end - clock()
            if seen.settled or seen.news or seen.mark != first.mark or left <= 0:
                return seen
            look = look_again
            fallback = left if hub.connected.is_set() else FALLBACK_SECONDS
            await news.get(min(left, fallback, left if seen.again_in is None else seen.again_in))


async def in_thread(work: Callable[[], T]) -> T:
    """Run database work outside of the event loop and give its connection back."""
    return await sync_to_async(_released)(work)


def _released(work: Callable[[], T]) -> T:
    try:
        return work()
    finally:
        # A hundred polls that wait must not hold a hundred connections. (Inside a transaction: a test's.)
        if not connection.in_atomic_block:
            connection.close()
