"""Who else is looking at an action: a hint that lives in Redis for less than a minute, and never a lock.

Open cards say every `BEAT_SECONDS` that they are open. Redis may be wiped or away at any moment: then nobody
seems to look. Only who may see the action is told, and no page more often than once a second (`live.SLOW`).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar
from uuid import UUID

import redis
from django.conf import settings

from approvals import queries
from approvals.models import Action
from policies.access import Verb, may
from policies.models import User
from traces import live

BEAT_SECONDS = 20
LIFE_SECONDS = 50
TOPIC = "looking"
MOST_ACTIONS = 500
# After a failure a while without trying: every open card would wait for it.
_SILENCE_SECONDS = 5.0
_ACTIONS = "agentsec:looking"
_quiet = {"until": 0.0}
T = TypeVar("T")
log = logging.getLogger(__name__)


def look(*, action_id: UUID, user: User) -> list[str]:
    """Note that this person has the card open; the names of everybody who has. Tells pages of a change."""
    now = time.time()

    def work(store: redis.Redis) -> list[Any]:
        with store.pipeline() as pipe:
            pipe.zremrangebyscore(_key(action_id), "-inf", now)
            pipe.zadd(_key(action_id), {str(user.pk): now + LIFE_SECONDS})
            pipe.expire(_key(action_id), LIFE_SECONDS)
            pipe.zadd(_ACTIONS, {str(action_id): now + LIFE_SECONDS})
            pipe.zrange(_key(action_id), 0, -1)
            return list(pipe.execute())

    found = _tried(work)
    if not found:
        return []
    if found[0] or found[1]:
        _tell([str(action_id)])
    return _names([found[4]])[0]


def leave(*, action_id: UUID, user: User) -> None:
    """This person has closed the card. Tells pages of it."""
    if _tried(lambda store: store.zrem(_key(action_id), str(user.pk))):
        _tell([str(action_id)])


def everywhere(user: User) -> dict[str, list[str]]:
    """By action, who looks at it now; of the actions that this person may see."""
    ids = _tried(lambda store: store.zrevrangebyscore(_ACTIONS, "+inf", time.time(), 0, MOST_ACTIONS))
    if not ids:
        return {}
    rows = queries.visible(user).filter(pk__in=_uuids(_texts(ids)))
    seen = [str(pk) for pk in rows.values_list("pk", flat=True)]
    return {action: names for action, names in at(seen).items() if names}


def at(action_ids: Sequence[str]) -> dict[str, list[str]]:
    """By action, the names of those who look at it, sorted; one trip to Redis and one query."""
    if not action_ids:
        return {}

    def work(store: redis.Redis) -> list[Any]:
        with store.pipeline(transaction=False) as pipe:
            for action_id in action_ids:
                pipe.zrangebyscore(_key(action_id), time.time(), "+inf")
            return list(pipe.execute())

    found = _tried(work) or [[] for _ in action_ids]
    return dict(zip(action_ids, _names(found), strict=True))


def forget(now: datetime) -> int:
    """Actions whose last card was closed without a word (a laptop that sleeps): pages are told; how many."""

    def work(store: redis.Redis) -> list[str]:
        over = _texts(store.zrangebyscore(_ACTIONS, "-inf", now.timestamp(), 0, MOST_ACTIONS))
        # Of several clocks, the one that removes it tells.
        return [action for action in over if store.zrem(_ACTIONS, action)]

    over = _tried(work) or []
    _tell(over)
    return len(over)


def notes(messages: Sequence[Mapping[str, Any]]) -> Callable[[User], tuple[str, ...]]:
    """What these messages come to: per action who looks at it now, rendered once, for whoever may see it."""
    lists = [each.get("ids") for each in messages if each.get("type") == TOPIC]
    ids = {str(name) for names in lists if isinstance(names, list) for name in names[:MOST_ACTIONS]}
    rows = list(Action.objects.filter(pk__in=_uuids(ids)).only("pk", "team", "groups"))
    looks = at([str(action.pk) for action in rows])
    told = [
        (action, json.dumps({"type": TOPIC, "id": str(action.pk), "names": looks[str(action.pk)]}))
        for action in rows
    ]

    def tell(user: User) -> tuple[str, ...]:
        return tuple(text for action, text in told if _may_see(user, action))

    return tell


def _may_see(user: User, action: Action) -> bool:
    return may(user, Verb.ACTION_READ, team=action.team, groups=action.groups).allowed


def _tell(action_ids: Sequence[str]) -> None:
    if action_ids:
        live.announce([TOPIC], {"type": TOPIC, "ids": list(action_ids)})


def _names(found: Iterable[Iterable[bytes]]) -> list[list[str]]:
    """For each list of ids from Redis, the usernames of people who are still active."""
    lists = [[int(key) for key in _texts(keys) if key.isdecimal() and len(key) < 19] for keys in found]
    wanted = {key for keys in lists for key in keys}
    people = User.objects.filter(pk__in=wanted, is_active=True) if wanted else User.objects.none()
    known = dict(people.values_list("pk", "username"))
    return [sorted(known[key] for key in keys if key in known) for keys in lists]


def _uuids(texts: Iterable[str]) -> list[UUID]:
    """Whoever can write to Redis can say anything."""
    found = []
    for text in texts:
        try:
            found.append(UUID(text))
        except ValueError:
            log.warning("who looks: %.40r is no action", text)
    return found


def _texts(keys: Iterable[Any]) -> list[str]:
    """Redis gives bytes."""
    return [bytes(key).decode("ascii", "replace") for key in keys]


def _key(action_id: UUID | str) -> str:
    return f"agentsec:looking:{action_id}"


def _tried(work: Callable[[redis.Redis], T]) -> T | None:
    """What Redis says, or None where it does not answer: then nobody seems to look."""
    if time.monotonic() < _quiet["until"]:
        return None
    try:
        return work(_client(settings.REDIS_URL))
    except redis.RedisError as error:
        _quiet["until"] = time.monotonic() + _SILENCE_SECONDS
        log.warning("who looks at what is not known: %s", error)
        return None


@lru_cache(maxsize=4)
def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1)
