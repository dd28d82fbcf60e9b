"""The cast at the REST door, and a real web server for what only a socket shows."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn
from django.conf import LazySettings
from django.db import connections

from agentsec_site.asgi import application
from policies import agents, people, world
from policies.models import Agent
from tests.cast import Cast, cast, committed_cast
from tests.gateway.caller import Caller

__all__ = ["cast", "committed_cast"]


@dataclass
class Door:
    """The same cast, each with a credential for the API."""

    cast: Cast
    agent: Caller
    host: Caller
    other: Caller
    approver: Caller
    second: Caller
    auditor: Caller
    stranger: Caller


def door_for(cast: Cast) -> Door:
    world.apply("agents:\n  - {name: other, mode: standard}\n", by="tests")
    other = agents.issue_key(Agent.objects.get(name="other"), ["act"], by="tests")
    token = lambda user: Caller(people.issue_token(user))  # noqa: E731
    return Door(
        cast,
        Caller(cast.raw_key),
        Caller(cast.raw_host_key),
        Caller(other),
        token(cast.approver),
        token(cast.second),
        token(cast.auditor),
        token(cast.stranger),
    )


@pytest.fixture(autouse=True)
def quick_passwords(settings: LazySettings) -> None:
    """Nobody signs in here, and five real password hashes cost seconds a test."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def door(cast: Cast) -> Door:
    """Inside a transaction that is rolled back."""
    return door_for(cast)


@pytest.fixture
def committed_door(committed_cast: Cast) -> Door:
    return door_for(committed_cast)


class Server(uvicorn.Server):
    """The site's own application on a free port of loopback, in a thread."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/api/v1"
        super().__init__(
            uvicorn.Config(application, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
        )
        self.thread = threading.Thread(target=self.run, kwargs={"sockets": [self.listener]})

    def __enter__(self) -> Server:
        self.thread.start()
        while not self.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *error: Any) -> None:
        self.should_exit = True
        self.thread.join(10)
        self.listener.close()
        assert not self.thread.is_alive()


@pytest.fixture
def server(committed_door: Door, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    # Each request has a thread of its own, and what it leaves open nobody closes.
    monkeypatch.setitem(connections.databases["default"], "CONN_MAX_AGE", 0)
    with Server() as running:
        yield running


@pytest.fixture
def http(server: Server, committed_door: Door) -> Iterator[httpx.Client]:
    """The agent, over a real socket."""
    with httpx.Client(base_url=server.url, headers=committed_door.agent.headers, timeout=70) as client:
        yield client
