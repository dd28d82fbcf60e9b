"""Who looks at an action now: told to who may see it, gone when they go, and only ever a hint."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.conf import settings
from django.utils import timezone

from approvals import looking
from approvals.models import Action
from policies.models import User
from tests.approvals.test_consumers import Site, hear, listening, signed_in, site
from tests.approvals.test_views import browser
from tests.cast import Cast, cast, committed_cast, person

__all__ = ["cast", "committed_cast", "site"]


@pytest.fixture(autouse=True)
def store(services: Any) -> Iterator[redis.Redis]:
    """Redis as every test finds it: nobody looks at anything."""
    client = redis.Redis.from_url(settings.REDIS_URL)
    looking._quiet["until"] = 0.0
    for key in client.scan_iter("agentsec:looking*"):
        client.delete(key)
    yield client
    client.close()


def look(user: User, action: Action, **said: str) -> Any:
    return browser(user).post(f"/actions/{action.pk}/look", said)


def everywhere(user: User) -> dict[str, list[str]]:
    found: dict[str, list[str]] = browser(user).get("/looking").json()["looking"]
    return found


def test_who_has_the_card_open_is_known_to_who_may_see_it(cast: Cast) -> None:
    action, other = cast.mass_mail(), person("mina", "comms")
    look(other, action)
    assert look(cast.approver, action).json() == {"me": "ada", "names": ["ada", "mina"]}
    assert everywhere(cast.auditor) == {str(action.pk): ["ada", "mina"]}
    assert everywhere(cast.stranger) == {}


def test_who_goes_is_gone(cast: Cast) -> None:
    action = cast.mass_mail()
    look(cast.approver, action)
    assert look(cast.approver, action, gone="1").status_code == 204
    assert everywhere(cast.approver) == {}


def test_who_went_without_a_word_is_gone_after_a_while(cast: Cast, store: redis.Redis) -> None:
    action, mina = cast.mass_mail(), person("mina", "comms")
    look(mina, action)
    store.zadd(f"agentsec:looking:{action.pk}", {str(mina.pk): time.time() - 1})
    store.zadd("agentsec:looking", {str(action.pk): time.time() - 1})
    assert looking.at([str(action.pk)]) == {str(action.pk): []}
    assert looking.forget(timezone.now()) == 1 and looking.forget(timezone.now()) == 0


def test_a_stranger_cannot_say_that_they_look(cast: Cast, store: redis.Redis) -> None:
    action = cast.mass_mail()
    assert look(cast.stranger, action).status_code == 404
    assert not store.exists("agentsec:looking")


def test_a_redis_that_is_away_or_wiped_only_hides_who_looks(
    cast: Cast, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    action = cast.mass_mail()
    look(cast.approver, action)
    for key in store.scan_iter("agentsec:looking*"):
        store.delete(key)
    assert everywhere(cast.approver) == {}
    monkeypatch.setattr(settings, "REDIS_URL", "redis://127.0.0.1:1/0")
    assert look(cast.approver, action).json()["names"] == []
    assert browser(cast.approver).get(f"/actions/{action.pk}/card").status_code == 200


@pytest.mark.parametrize("ids", [["nonsense", None, 1], 5])
def test_garbage_from_redis_is_told_to_nobody(cast: Cast, store: redis.Redis, ids: Any) -> None:
    tell = looking.notes([{"type": "looking", "ids": ids}, {"type": "looking"}, {"type": "other"}])
    assert tell(cast.approver) == ()
    store.zadd("agentsec:looking", {"nonsense": time.time() + 60, b"\xff": time.time() + 60})
    action = str(cast.mass_mail().pk)
    store.zadd(f"agentsec:looking:{action}", {"9" * 30: time.time() + 60, "x": time.time() + 60})
    assert looking.at([action]) == {action: []}
    assert everywhere(cast.approver) == {}


def test_a_message_is_for_who_may_see_the_action(cast: Cast) -> None:
    action = cast.mass_mail()
    look(cast.approver, action)
    tell = looking.notes([{"type": "looking", "ids": [str(action.pk)]}])
    assert [json.loads(text)["names"] for text in tell(cast.auditor)] == [["ada"]]
    assert tell(cast.stranger) == ()


def test_pages_hear_it_once_a_second_at_most(site: Site, committed_cast: Cast) -> None:
    cast, mina = committed_cast, person("mina", "comms")
    action = cast.mass_mail()
    with listening(site, signed_in(cast.approver), "looking") as wire:
        assert hear(wire, "resync")
        began = time.monotonic()
        for name in ("gone", ""):
            look(cast.approver, action, gone=name)
        look(mina, action)
        while (told := hear(wire, "looking")) and told["names"] != ["ada", "mina"]:
            pass
        assert told and told["id"] == str(action.pk)
        assert hear(wire, "looking", seconds=0.3) is None and time.monotonic() - began < 4
