"""The browser's socket: who gets in, who hears what, and how it ends. Real web server, real Redis."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
import uvicorn
from django.conf import settings
from django.contrib.auth.models import Group
from django.db import connections, transaction
from django.test import Client
from pytest_django import Settings
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from agentsec_site.asgi import application
from agentsec_site.wire import FramesProtocol
from approvals import decisions, live, rowtext, seats, states
from policies import people
from policies.factor_models import AuthenticatorApp
from policies.models import User
from tests.cast import Cast, committed_cast
from traces import live as pushed

__all__ = ["committed_cast"]
SOON = 8.0


class Site(uvicorn.Server):
    """The site's own application on a free port of loopback, in a thread."""

    def __init__(self, protocol: Any = FramesProtocol) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self.listener.getsockname()[1]}"
        super().__init__(
            uvicorn.Config(
                application, log_config=None, lifespan="off", ws=protocol, ws_per_message_deflate=False,
                timeout_graceful_shutdown=1,
            )
        )  # fmt: skip
        self.thread = threading.Thread(target=self.run, kwargs={"sockets": [self.listener]})

    def __enter__(self) -> Site:
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
def site(committed_cast: Cast) -> Iterator[Site]:
    with Site() as running:
        yield running


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@contextmanager
def listening(
    site: Site, client: Client | None, *topics: str, origin: str = "", since: str = ""
) -> Iterator[ClientConnection]:
    """A socket of this browser, once it hears that it should read again, which is the first it ever hears."""
    cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items()) if client else ""
    query = "&".join([*(f"topic={topic}" for topic in topics or ("inbox",)), f"since={since}"])
    headers = {"Cookie": cookies} if cookies else {}
    wire = connect(
        f"ws://{site.host}/ws/live?{query}", origin=origin or f"http://{site.host}",  # type: ignore[arg-type]
        additional_headers=headers, open_timeout=10, proxy=None,
    )  # fmt: skip
    with wire:
        yield wire


def hear(wire: ClientConnection, kind: str, seconds: float = SOON) -> dict[str, Any] | None:
    """The next message of this kind, or None if there is none in time."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        try:
            message = json.loads(wire.recv(timeout=left))
        except TimeoutError:
            return None
        if message["type"] == kind:
            return message
    return None


def ending(wire: ClientConnection) -> int:
    """The code that the server closes the socket with."""
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            wire.recv(timeout=SOON)
    return closed.value.rcvd.code if closed.value.rcvd else 0


def refused(site: Site, client: Client | None, *topics: str, origin: str = "") -> int:
    with pytest.raises(InvalidStatus) as answer, listening(site, client, *topics, origin=origin):
        pass
    return answer.value.response.status_code


def test_a_new_action_reaches_whom_it_asks_and_nobody_else(site: Site, committed_cast: Cast) -> None:
    cast = committed_cast
    with (
        listening(site, signed_in(cast.approver)) as approver,
        listening(site, signed_in(cast.auditor)) as auditor,
        listening(site, signed_in(cast.stranger)) as stranger,
    ):
        for wire in (approver, auditor, stranger):
            assert hear(wire, "resync")
        action = cast.mass_mail()
        told = hear(approver, "row")
        assert told and told["id"] == str(action.pk) and f'id="row-{action.pk}"' in told["html"]
        assert (count := hear(approver, "waiting")) and count["n"] == 1
        assert hear(auditor, "row")
        assert hear(stranger, "row", seconds=1.0) is None


def test_a_decision_reaches_the_other_browser(site: Site, committed_cast: Cast) -> None:
    cast = committed_cast
    action = cast.mass_mail()
    with listening(site, signed_in(cast.approver)) as wire:
        assert hear(wire, "resync")
        decisions.reject(action_id=action.pk, user=cast.approver, digest=action.digest, comment="no")
        told = hear(wire, "row")
        assert told and (told["state"], told["by"]) == ("rejected", "ada")
        assert (count := hear(wire, "waiting")) and count["n"] == 0


def test_nobody_gets_in_without_a_sign_in(site: Site) -> None:
    assert refused(site, None) == 403


def test_another_origin_does_not_get_in_even_on_another_port(site: Site, committed_cast: Cast) -> None:
    client = signed_in(committed_cast.approver)
    for origin in ("https://evil.example", "http://127.0.0.1:1", f"https://{site.host}.evil.example", "null"):
        assert refused(site, client, origin=origin) == 403


def test_an_origin_that_is_none_is_refused_without_a_stumble(
    site: Site, committed_cast: Cast, caplog: pytest.LogCaptureFixture
) -> None:
    assert refused(site, signed_in(committed_cast.approver), "inbox", origin="http://[") == 403
    assert "Traceback" not in caplog.text


def test_whoever_loses_the_second_factor_that_the_site_wants_hears_no_more(
    site: Site, committed_cast: Cast, settings: Settings
) -> None:
    settings.AGENTSEC_REQUIRE_MFA = True
    app = AuthenticatorApp.objects.create(user=committed_cast.approver, sealed=b"x", last_step=0)
    with listening(site, signed_in(committed_cast.approver)) as wire:
        assert hear(wire, "resync")
        app.delete()
        committed_cast.mass_mail()
        assert ending(wire) == live.SIGNED_OUT


def test_a_topic_that_is_not_theirs_keeps_a_stranger_out(site: Site, committed_cast: Cast) -> None:
    action = committed_cast.mass_mail()
    stranger = signed_in(committed_cast.stranger)
    for topic in (f"action:{action.pk}", f"output:{action.pk}", f"session:{action.session_id}"):
        assert refused(site, stranger, "inbox", topic) == 403
    for topic in ("nonsense", "action:*", f"action:{action.pk}x", "action:", "\N{SNOWMAN}"):
        assert refused(site, stranger, topic) == 403


def test_an_actions_own_page_hears_of_it_by_name_only(site: Site, committed_cast: Cast) -> None:
    action = committed_cast.mass_mail()
    with listening(site, signed_in(committed_cast.auditor), f"action:{action.pk}") as wire:
        assert hear(wire, "resync")
        decisions.reject(
            action_id=action.pk, user=committed_cast.approver, digest=action.digest, comment="secret"
        )
        assert hear(wire, "changed") == {"type": "changed", "topic": f"action:{action.pk}"}


def test_signing_out_ends_the_socket(site: Site, committed_cast: Cast) -> None:
    client = signed_in(committed_cast.approver)
    with listening(site, client) as wire:
        client.post("/sign-out")
        assert ending(wire) == live.SIGNED_OUT


def test_switching_a_person_off_ends_the_socket_before_the_next_message(
    site: Site, committed_cast: Cast
) -> None:
    with listening(site, signed_in(committed_cast.approver)) as wire:
        assert hear(wire, "resync")
        people.set_active(user=committed_cast.approver, active=False, by="tests")
        committed_cast.mass_mail()
        assert ending(wire) == live.SIGNED_OUT


def test_a_new_password_ends_the_sockets_of_the_old_one(site: Site, committed_cast: Cast) -> None:
    with listening(site, signed_in(committed_cast.approver)) as wire:
        assert hear(wire, "resync")
        link = people.reset(user=committed_cast.approver, by="tests")
        people.redeem(token=link.token, password="another horse another battery")
        assert ending(wire) == live.SIGNED_OUT


def test_leaving_a_group_ends_the_socket_and_nothing_of_it_is_heard(site: Site, committed_cast: Cast) -> None:
    with listening(site, signed_in(committed_cast.approver)) as wire:
        assert hear(wire, "resync")
        committed_cast.approver.groups.remove(Group.objects.get(name="comms"))
        committed_cast.mass_mail()
        heard = []
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                heard.append(wire.recv(timeout=SOON))
        assert closed.value.rcvd and closed.value.rcvd.code == live.CHANGED
        assert not [text for text in heard if json.loads(text)["type"] == "row"]


def test_a_socket_is_for_listening(site: Site, committed_cast: Cast) -> None:
    action = committed_cast.mass_mail()
    with listening(site, signed_in(committed_cast.approver)) as wire:
        wire.send(json.dumps({"type": "approve", "id": str(action.pk), "digest": action.digest}))
        assert ending(wire) == live.FORBIDDEN
    action.refresh_from_db()
    assert action.state == "pending"


def subscribed(url: str) -> None:
    """Return once the site listens to Redis, which it begins to do with its first page."""
    end = time.monotonic() + SOON
    with redis.Redis.from_url(url) as client:
        while not client.client_list(_type="pubsub"):
            assert time.monotonic() < end
            time.sleep(0.02)


def cut_off(url: str = "") -> None:
    """End the site's subscription from Redis' side."""
    subscribed(url or settings.REDIS_URL)
    with redis.Redis.from_url(url or settings.REDIS_URL) as client:
        client.client_kill_filter(_type="pubsub", skipme=True)


def test_what_redis_lost_is_told_when_it_is_back(
    site: Site, committed_cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(site, signed_in(committed_cast.approver)) as wire:
        assert hear(wire, "resync")
        subscribed(settings.REDIS_URL)
        monkeypatch.setattr(pushed, "announce", lambda topics, message: None)
        action = committed_cast.mass_mail()
        cut_off()
        told = hear(wire, "row")
        assert told and told["id"] == str(action.pk)


def test_the_page_is_told_while_redis_is_lost_and_when_it_is_back(
    site: Site, committed_cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(site, signed_in(committed_cast.approver)) as wire:
        assert hear(wire, "resync")
        there = settings.REDIS_URL
        subscribed(there)
        monkeypatch.setattr(settings, "REDIS_URL", "redis://127.0.0.1:1/0")
        cut_off(there)
        assert hear(wire, "push") == {"type": "push", "on": False}
        monkeypatch.setattr(settings, "REDIS_URL", there)
        assert hear(wire, "push", seconds=15) == {"type": "push", "on": True}


def test_sixty_sockets_of_one_audience_cost_one_look_and_one_rendering(
    site: Site, committed_cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = []
    drawn = rowtext.html
    monkeypatch.setattr(rowtext, "html", lambda row: rendered.append(row) or drawn(row))
    client = signed_in(committed_cast.approver)
    wires = [listening(site, client) for _ in range(60)]
    opened = [wire.__enter__() for wire in wires]
    try:
        assert all(hear(wire, "resync") for wire in opened[:1])
        action = committed_cast.mass_mail()
        assert all((told := hear(wire, "row")) and told["id"] == str(action.pk) for wire in opened)
        assert len(rendered) == 1
    finally:
        for wire in wires:
            wire.__exit__(None, None, None)


def cursor(client: Client) -> str:
    """What a page that was just read says that it knows."""
    found = re.search(r'data-cursor="([0-9-]+)"', client.get("/").content.decode())
    assert found
    return found[1]


def caught_up(wire: ClientConnection) -> list[dict[str, Any]]:
    """The rows that a socket hears before it is told how many wait."""
    rows = []
    while (message := json.loads(wire.recv(timeout=SOON)))["type"] != "waiting":
        rows.append(message)
    return rows


def test_a_page_that_comes_back_hears_what_changed_and_nothing_else(site: Site, committed_cast: Cast) -> None:
    cast, client = committed_cast, signed_in(committed_cast.approver)
    before, decided = cast.mass_mail(), cast.mass_mail()
    known = cursor(client)
    decisions.reject(action_id=decided.pk, user=cast.approver, digest=decided.digest, comment="no")
    new = cast.mass_mail()
    with listening(site, client, since=known) as wire:
        told = caught_up(wire)
    assert [(row["id"], row["state"]) for row in told] == [
        (str(decided.pk), "rejected"), (str(new.pk), "pending"),
    ]  # fmt: skip
    assert str(before.pk) not in str(told)


def test_nothing_is_told_twice_to_a_page_that_knows_it_all(site: Site, committed_cast: Cast) -> None:
    client = signed_in(committed_cast.approver)
    committed_cast.mass_mail()
    with listening(site, client, since=cursor(client)) as wire:
        assert caught_up(wire) == []


def test_a_stranger_who_comes_back_hears_nothing(site: Site, committed_cast: Cast) -> None:
    client = signed_in(committed_cast.stranger)
    known = cursor(client)
    committed_cast.mass_mail()
    with listening(site, client, since=known) as wire:
        assert caught_up(wire) == []


@pytest.mark.parametrize("since", ["1-1", "999999999999999-{now}", "nonsense", "-", "1-{now}x"])
def test_a_cursor_that_nobody_could_have_is_answered_by_read_again(
    site: Site, committed_cast: Cast, since: str
) -> None:
    told = since.format(now=int(time.time()))
    with listening(site, signed_in(committed_cast.approver), since=told) as wire:
        assert hear(wire, "resync")


def test_a_transaction_that_was_open_at_the_cursor_is_not_lost(site: Site, committed_cast: Cast) -> None:
    client = signed_in(committed_cast.approver)
    early, later = committed_cast.mass_mail(), committed_cast.mass_mail()
    began, read = threading.Event(), threading.Event()

    def slow() -> None:
        try:
            with transaction.atomic():
                states.announce(early)
                began.set()
                assert read.wait(SOON)
        finally:
            connections.close_all()

    writer = threading.Thread(target=slow)
    writer.start()
    assert began.wait(SOON)
    states.announce(later)  # it began later, and ends before the page is read
    known = cursor(client)
    read.set()
    writer.join()
    with listening(site, client, since=known) as wire:
        assert str(early.pk) in {row["id"] for row in caught_up(wire)}


def test_more_than_a_page_can_take_over_is_read_again(
    site: Site, committed_cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = signed_in(committed_cast.approver)
    known = cursor(client)
    monkeypatch.setattr(live.feed, "MOST", 1)
    committed_cast.mass_mail()
    committed_cast.mass_mail()
    with listening(site, client, since=known) as wire:
        assert [message["type"] for message in caught_up(wire)] == ["resync"]


def test_a_server_that_takes_no_whole_frames_tells_the_same(committed_cast: Cast) -> None:
    with (
        Site("websockets-sansio") as plain,
        listening(plain, signed_in(committed_cast.approver)) as wire,
    ):
        assert hear(wire, "resync")
        action = committed_cast.mass_mail()
        assert (told := hear(wire, "row")) and told["id"] == str(action.pk)


def test_a_socket_for_which_too_much_waits_is_closed(
    site: Site, committed_cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seats, "SLOW_BYTES", -1)
    client = signed_in(committed_cast.approver)
    with listening(site, client) as wire:
        assert ending(wire) == live.TOO_SLOW
