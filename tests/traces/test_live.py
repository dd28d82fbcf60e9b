"""Who waits for a topic hears of it on commit, and is told when something may have been missed."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import transaction

from agentsec_site.embedded import Services
from traces import live
from traces.live import Hub

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("services")]


def with_hub(story: Callable[[Hub], Awaitable[Any]]) -> Any:
    """Run a story on an event loop with a connected hub."""

    async def main() -> Any:
        hub = Hub()
        hub.start()
        async with asyncio.timeout(20):
            await hub.connected.wait()
            try:
                return await story(hub)
            finally:
                await hub.stop()

    return asyncio.run(main())


def publish(topic: str, message: dict[str, Any]) -> None:
    with transaction.atomic():
        live.publish(topic, message)


say = sync_to_async(publish)


def test_a_subscriber_hears_its_topic() -> None:
    async def story(hub: Hub) -> Any:
        with hub.subscribe("a") as subscription:
            await say("a", {"n": 1})
            return await subscription.get(5)

    assert with_hub(story) == {"topic": "a", "n": 1}


def test_a_subscriber_hears_no_other_topic() -> None:
    async def story(hub: Hub) -> Any:
        with hub.subscribe("a") as subscription:
            await say("b", {"n": 1})
            return await subscription.get(0.3)

    assert with_hub(story) is None


def test_what_rolls_back_is_never_heard() -> None:
    def fail() -> None:
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            live.publish("a", {"n": 1})
            raise ZeroDivisionError

    async def story(hub: Hub) -> Any:
        with hub.subscribe("a") as subscription:
            await sync_to_async(fail)()
            return await subscription.get(0.3)

    assert with_hub(story) is None


def test_waiting_ends_with_the_message_or_with_time() -> None:
    async def story(hub: Hub) -> Any:
        waiting = asyncio.create_task(hub.wait("a", 5))
        await asyncio.sleep(0)
        await say("a", {"n": 1})
        return await waiting, await hub.wait("a", 0.1)

    assert with_hub(story) == ({"topic": "a", "n": 1}, None)


def test_many_subscribers_share_one_connection() -> None:
    def connections() -> int:
        client = redis.Redis.from_url(settings.REDIS_URL)
        with client:
            return int(client.execute_command("PUBSUB", "NUMSUB", live.CHANNEL)[1])

    async def story(hub: Hub) -> Any:
        for number in range(50):
            hub.subscribe(f"topic {number}")
        return await sync_to_async(connections)()

    assert with_hub(story) == 1


def test_after_a_reconnection_everybody_is_told_to_read_again() -> None:
    def cut() -> None:
        with redis.Redis.from_url(settings.REDIS_URL) as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

    async def story(hub: Hub) -> Any:
        with hub.subscribe("a") as subscription:
            await sync_to_async(cut)()
            told = await subscription.get(10)
            await say("a", {"n": 1})
            return told, await subscription.get(5)

    assert with_hub(story) == ({"type": "resync"}, {"topic": "a", "n": 1})


def test_the_hub_survives_garbage_collection_and_garbage() -> None:
    def garbage() -> None:
        with redis.Redis.from_url(settings.REDIS_URL) as client:
            for data in (b"\xff", b"[]", b'{"topics": 1}', b"null"):
                client.publish(live.CHANNEL, data)

    async def story(hub: Hub) -> Any:
        with hub.subscribe("a") as subscription:
            gc.collect()
            await sync_to_async(garbage)()
            await say("a", {"n": 1})
            return await subscription.get(5)

    assert with_hub(story) == {"topic": "a", "n": 1}


def test_a_slow_subscriber_is_told_to_read_again() -> None:
    async def story(hub: Hub) -> Any:
        subscription = hub.subscribe("a")
        for number in range(live.QUEUE + 1):
            subscription.put({"n": number})
        return await subscription.get(1), await subscription.get(0.05)

    assert with_hub(story) == ({"type": "resync"}, None)


def test_a_closed_subscription_hears_nothing() -> None:
    async def story(hub: Hub) -> Any:
        with hub.subscribe("a") as subscription:
            pass
        await say("a", {"n": 1})
        return await subscription.get(0.3)

    assert with_hub(story) is None


def test_without_redis_a_commit_succeeds(
    settings: Any, monkeypatch: pytest.MonkeyPatch, services: Services
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    monkeypatch.setattr(live, "_silence", live._Silence())
    done = []
    with transaction.atomic():
        live.publish("a", {"n": 1})
        transaction.on_commit(lambda: done.append("after"))
    assert (done, live._silence.lost) == (["after"], True)


def test_after_a_failed_push_subscribers_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_silence", live._Silence(lost=True))

    async def story(hub: Hub) -> Any:
        with hub.subscribe("a") as subscription:
            await say("b", {"n": 1})
            return await subscription.get(5)

    assert with_hub(story) == {"type": "resync"}
