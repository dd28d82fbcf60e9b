"""Long polls over real sockets: woken by push, many at once, and alive without Redis."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Timer
from typing import Any

import httpx
import psycopg
import pytest
from django.conf import LazySettings
from django.db import connection

from agentsec_site.gateway import intake
from approvals import decisions
from approvals.models import Action
from policies import agents
from policies.models import Agent
from tests.cast import MANY
from tests.gateway.caller import MAIL
from tests.gateway.conftest import Door, Server
from traces import live

MASS = {**MAIL, "to": MANY}


def propose(http: httpx.Client, args: dict[str, Any], **more: Any) -> httpx.Response:
    session = http.post("/sessions", json={}).json()["id"]
    return http.post("/actions", json={"session": session, "tool": "email.send", "args": args, **more})


def reject(door: Door, action_id: str) -> None:
    """By somebody in another thread, whose connection is theirs to close."""
    digest = Action.objects.values_list("digest", flat=True).get(pk=action_id)
    about = {"action_id": action_id, "user": door.cast.approver, "digest": digest, "channel": "rest"}
    decisions.reject(**about, comment="no")
    connection.close()


def later(seconds: float, work: Any, *arguments: Any) -> Timer:
    timer = Timer(seconds, work, arguments)
    timer.start()
    return timer


@pytest.fixture
def waiting(http: httpx.Client) -> str:
    """The id of an action that waits for people."""
    return str(propose(http, MASS).json()["id"])


def test_a_poll_answers_the_moment_it_is_decided(
    committed_door: Door, http: httpx.Client, waiting: str
) -> None:
    decision = later(0.7, reject, committed_door, waiting)
    began = time.monotonic()
    told = http.get(f"/actions/{waiting}", params={"wait": 30})
    took = time.monotonic() - began
    decision.join()
    assert (told.status_code, told.json()["state"]) == (200, "rejected")
    assert 0.6 < took < 2


def test_a_proposal_can_wait_for_its_answer(committed_door: Door, http: httpx.Client) -> None:
    def reject_the_one() -> None:
        reject(committed_door, str(Action.objects.get(state="pending").pk))

    decision = later(0.7, reject_the_one)
    told = propose(http, MASS, wait=30)
    decision.join()
    assert (told.status_code, told.json()["state"]) == (200, "rejected")


def test_a_poll_ends_in_time_with_what_there_is(http: httpx.Client, waiting: str) -> None:
    began = time.monotonic()
    told = http.get(f"/actions/{waiting}", params={"wait": 1})
    assert (told.status_code, told.json()["state"]) == (202, "pending")
    assert 0.9 < time.monotonic() - began < 2


def test_a_hundred_polls_wait_at_once_without_a_connection_and_all_hear(
    committed_door: Door, server: Server, http: httpx.Client, waiting: str, superuser: psycopg.Connection
) -> None:
    async def poll_all() -> list[int]:
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(headers=http.headers, timeout=30, limits=limits) as client:
            address = f"{server.url}/actions/{waiting}?wait=25"
            polls = [asyncio.create_task(client.get(address)) for _ in range(100)]
            # However slow this machine is to let them all in: once they wait, they hold nothing.
            settled = time.monotonic() + 15
            await asyncio.sleep(2)
            while open_connections(superuser) > 5 and time.monotonic() < settled:
                await asyncio.sleep(0.2)
            held.append(open_connections(superuser))
            assert not any(poll.done() for poll in polls)
            await asyncio.to_thread(reject, committed_door, waiting)
            decided.append(time.monotonic())
            return [(await poll).status_code for poll in polls]

    held: list[int] = []
    decided: list[float] = []
    assert asyncio.run(poll_all()) == [200] * 100
    assert held[0] <= 5
    assert time.monotonic() - decided[0] < 5


def open_connections(superuser: psycopg.Connection) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'agentsec_app'"
    return int(superuser.execute(query).fetchone()[0])  # type: ignore[index]


def test_a_poll_queries_nothing_while_nothing_happens(
    http: httpx.Client, waiting: str, superuser: psycopg.Connection
) -> None:
    def scans() -> int:
        superuser.execute("SELECT pg_stat_force_next_flush()")
        row = superuser.execute(
            "SELECT seq_scan + idx_scan FROM pg_stat_user_tables WHERE relname = 'approvals_action'"
        ).fetchone()
        return int(row[0])  # type: ignore[index]

    with ThreadPoolExecutor(1) as pool:
        poll = pool.submit(http.get, f"/actions/{waiting}", params={"wait": 6})
        time.sleep(2.5)
        before = scans()
        time.sleep(3)
        assert scans() == before
        assert poll.result().status_code == 202


@pytest.fixture
def no_redis(settings: LazySettings) -> Iterator[None]:
    """A Redis address where nobody listens."""
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    live._client.cache_clear()
    yield
    live._client.cache_clear()


def test_without_redis_a_poll_still_hears_within_seconds(
    no_redis: None, committed_door: Door, http: httpx.Client
) -> None:
    waiting = str(propose(http, MASS).json()["id"])
    decision = later(0.5, reject, committed_door, waiting)
    began = time.monotonic()
    told = http.get(f"/actions/{waiting}", params={"wait": 30})
    decision.join()
    assert told.json()["state"] == "rejected"
    assert time.monotonic() - began < 5


def test_a_reviewer_can_wait_too(committed_door: Door, server: Server, waiting: str) -> None:
    decision = later(0.5, reject, committed_door, waiting)
    headers = committed_door.second.headers | committed_door.approver.headers
    told = httpx.get(f"{server.url}/actions/{waiting}?wait=20", headers=headers, timeout=30)
    decision.join()
    assert (told.status_code, told.json()["decided_by"]) == (200, "ada")


def test_a_key_revoked_meanwhile_gets_nothing_any_more(
    committed_door: Door, http: httpx.Client, waiting: str
) -> None:
    def revoke_then_reject() -> None:
        agents.revoke(agent=committed_door.cast.agent, by="tests")
        reject(committed_door, waiting)

    revocation = later(0.7, revoke_then_reject)
    told = http.get(f"/actions/{waiting}", params={"wait": 20})
    revocation.join()
    assert told.status_code == 401


def test_twenty_replays_at_once_are_one_action(http: httpx.Client) -> None:
    session = http.post("/sessions", json={}).json()["id"]
    body = {"session": session, "tool": "email.send", "args": MASS, "idempotency_key": "once"}
    with ThreadPoolExecutor(20) as pool:
        told = [
            answer.json()["id"] for answer in pool.map(lambda _: http.post("/actions", json=body), range(20))
        ]
    assert len(set(told)) == 1


def test_a_client_that_hangs_up_leaves_nothing_behind(
    server: Server, http: httpx.Client, waiting: str
) -> None:
    with pytest.raises(httpx.ReadTimeout):
        http.get(f"/actions/{waiting}", params={"wait": 30}, timeout=1)
    assert http.get(f"/actions/{waiting}").status_code == 202


def test_a_body_of_unknown_length_is_stopped_at_the_limit(http: httpx.Client) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(2000):
            sent += 1 << 16
            yield b" " * (1 << 16)

    try:
        told = http.post("/sessions", content=endless(), headers={"Content-Type": "application/json"})
        assert (told.status_code, told.json()["code"]) == (413, "too_large")
    except (httpx.WriteError, httpx.ReadError):
        pass  # the server hung up while we were still writing, which is as good
    assert sent < 64 << 20


def test_a_page_takes_no_endless_body_from_a_stranger(server: Server) -> None:
    """Django would write it to disk before the page looks at who sent it."""
    with socket.create_connection(server.listener.getsockname(), 5) as client:
        client.sendall(b"POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000000\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 413")


def test_a_declared_length_beyond_the_limit_is_refused_unread(server: Server, http: httpx.Client) -> None:
    with socket.create_connection(server.listener.getsockname(), 5) as client:
        client.sendall(
            b"POST /api/v1/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: 5242880\r\n\r\n"
        )
        told = client.recv(1000)
    assert told.startswith(b"HTTP/1.1 413")
    assert b"application/problem+json" in told


def test_a_length_that_no_number_holds_is_refused_at_once(server: Server, http: httpx.Client) -> None:
    with socket.create_connection(server.listener.getsockname(), 5) as client:
        client.sendall(
            b"POST /api/v1/files HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: " + b"9" * 20 + b"\r\n\r\n"
        )
        assert client.recv(100).startswith(b"HTTP/1.1 413")


def test_a_body_that_stops_arriving_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "STALL_SECONDS", 0.5)
    with socket.create_connection(server.listener.getsockname(), 5) as client:
        client.sendall(b"POST /api/v1/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{")
        assert client.recv(100).startswith(b"HTTP/1.1 408")


def test_a_chunked_body_is_a_body(http: httpx.Client) -> None:
    told = http.post(
        "/sessions", content=iter([b'{"pur', b'pose": "x"}']), headers={"Content-Type": "application/json"}
    )
    assert told.status_code == 200


def test_fifty_calls_at_once_respect_the_limit(http: httpx.Client) -> None:
    Agent.objects.filter(name="scout").update(actions_per_minute=10)
    session = http.post("/sessions", json={}).json()["id"]
    body = {"session": session, "tool": "email.send", "args": MAIL}
    with ThreadPoolExecutor(20) as pool:
        codes = [told.status_code for told in pool.map(lambda _: http.post("/actions", json=body), range(50))]
    assert sorted(codes) == [200] * 10 + [429] * 40
