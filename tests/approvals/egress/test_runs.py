"""Tools with a way out, as an agent calls them: real sandbox, real proxy, real log, a server on loopback."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from pytest_django import Settings

from approvals import execution
from approvals.models import Action, Execution
from policies import secrets, world
from policies.models import Grant
from policies.world import WorldRefused
from tests import receiver
from tests.cast import Cast
from tests.receiver import Receiver
from traces import record
from traces.models import Entry

KEY = "sk-planted-key-0123456789"


@pytest.fixture
def server(settings: Settings) -> Iterator[Receiver]:
    with receiver.running() as running:
        settings.AGENTSEC_FETCH_ALLOW = [running.entry]
        yield running


def answer(body: bytes, head: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n" % (len(body), head) + body


def declare(cast: Cast, *, runs: str, **fields: Any) -> None:
    told = {
        "name": "it", "runs": runs, "effect": "read", "sends": "internal",
        "parameters": {"type": "object", "additionalProperties": True}, **fields,
    }  # fmt: skip
    world.apply(json.dumps({"tools": [told]}), by="tests")


def run(cast: Cast, args: dict[str, Any]) -> Action:
    action = cast.propose("it", args)
    execution.run(action_id=action.pk, worker="tests")
    action.refresh_from_db()
    return action


def told(action: Action) -> list[tuple[str, str]]:
    """What the log says of its way out."""
    entries = Entry.objects.filter(action_id=str(action.pk), kind__startswith="egress.").order_by("pk")
    found = []
    for entry in entries:
        body = record.open_payload(entry)
        assert isinstance(body, dict)
        found.append((entry.kind, str(body.get("what"))))
    return found


ASK = """
import os, urllib.request, urllib.error
url = "http://127.0.0.1:%d"
def ask(path, **more):
    try:
        with urllib.request.urlopen(urllib.request.Request(url + path, **more), timeout=5) as got:
            return got.status, got.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
"""


def test_a_job_reaches_what_is_listed_and_nothing_else(committed_cast: Cast, server: Receiver) -> None:
    secrets.put(name="api-key", value=KEY, by="tests")
    base = f"http://127.0.0.1:{server.port}"
    declare(
        committed_cast, runs="python", secrets=["api-key"],
        egress=[f"GET {base}/v1/*", f"POST {base}/pay with api-key"],
    )  # fmt: skip
    server.answers += [answer(b"read"), answer(b"you sent Bearer " + KEY.encode())]
    code = ASK % server.port + (
        "import socket\n"
        "held = os.environ['AGENTSEC_SECRET_API_KEY']\n"
        "print(ask('/v1/a'))\n"
        "print(ask('/pay', data=b'{}', headers={'Authorization': 'Bearer ' + held}))\n"
        "print(ask('/v2')[0], ask('/v1/a', headers={'X': held})[0])\n"
        "for place in (('127.0.0.1', PORT), ('1.1.1.1', 80)):\n"
        "    try: socket.create_connection(place, 2); print('ESCAPED')\n"
        "    except OSError: print('alone')\n"
    ).replace("PORT", str(server.port))
    action = run(committed_cast, {"code": code})
    assert action.result["stdout"] == (
        f"(200, 'read')\n(200, 'you sent Bearer {'*' * len(KEY)}')\n403 403\nalone\nalone\n"
    ), action.result
    assert server.got[1].headers["authorization"] == f"Bearer {KEY}" and len(server.got) == 2
    assert action.result["network"]["allowed"] == 2 and action.result["network"]["refused"] == 2
    assert told(action) == [
        ("egress.allowed", f"GET {base}/v1/a"), ("egress.ended", f"GET {base}/v1/a"),
        ("egress.allowed", f"POST {base}/pay"), ("egress.ended", f"POST {base}/pay"),
        ("egress.refused", f"GET {base}/v2"), ("egress.refused", f"GET {base}/v1/a"),
    ]  # fmt: skip


def test_a_job_that_hammers_its_proxy_hurts_itself_alone(committed_cast: Cast, server: Receiver) -> None:
    """Noise, half requests and more connections than are served: the log stays small, the run ends well."""
    declare(
        committed_cast,
        runs="python",
        limits={"memory_bytes": 4 << 30},
        egress=[f"http://127.0.0.1:{server.port}/*"],
    )
    code = ASK % server.port + (
        "import os, socket\n"
        "held = []\n"
        "for n in range(300):\n"
        "    wire = socket.create_connection(('127.0.0.1', 3128), 5)\n"
        "    wire.sendall(os.urandom(500) + b'\\r\\n\\r\\n' if n % 3 else b'GET http')\n"
        "    held.append(wire)\n"
        "for wire in held: wire.close()\n"
        "print(ask('/x')[0])\n"
    )
    action = run(committed_cast, {"code": code})
    assert (action.result["stdout"], len(server.got)) == ("204\n", 1), action.result
    assert len(told(action)) <= 103


def test_the_card_says_where_it_goes_with_what(cast: Cast, client: Client) -> None:
    declare(
        cast, runs="http", effect="write", secrets=["api-key"], headers={"items": "{secret:api-key}"},
        egress=["POST https://api.example/pay with api-key"],
    )  # fmt: skip
    asks = {"name": "its", "effect": "ask", "tools": ["it"], "approvers": "comms"}
    world.apply(json.dumps({"rules": [asks]}), by="tests")
    action = cast.propose("it", {"url": "https://api.example/pay", "method": "POST"})
    client.force_login(cast.approver, backend="django.contrib.auth.backends.ModelBackend")
    shown = client.get(f"/actions/{action.pk}/card").content.decode()
    assert "POST https://api.example/pay with api-key" in shown and "items: {secret:api-key}" in shown


def test_a_job_that_lists_nothing_has_no_proxy(committed_cast: Cast) -> None:
    declare(committed_cast, runs="python")
    code = (
        "import os, socket\n"
        "print([n for n in os.environ if 'PROXY' in n.upper() or 'SECRET' in n], os.listdir('/in'))\n"
        "print(socket.socket().connect_ex(('127.0.0.1', 3128)))\n"
    )
    assert run(committed_cast, {"code": code}).result["stdout"] == "[] ['args.json']\n111\n"


def test_a_start_that_lost_its_grant_reaches_nothing(committed_cast: Cast, server: Receiver) -> None:
    """As for a worker that froze, was declared dead, and woke up: the next request of its job is refused."""
    base = f"http://127.0.0.1:{server.port}"
    declare(committed_cast, runs="python", egress=[f"{base}/*"])

    def end(wire: socket.socket) -> None:
        try:
            Grant.objects.update(state=Grant.State.REVOKING)
        finally:
            connection.close()
        wire.sendall(answer(b"first"))

    server.answers.append(end)
    code = ASK % server.port + "print(ask('/1'))\nprint(ask('/2')[0])\n"
    assert run(committed_cast, {"code": code}).result["stdout"] == "(200, 'first')\n403\n"
    assert len(server.got) == 1


def test_a_line_that_carries_an_unknown_secret_never_starts(committed_cast: Cast) -> None:
    declare(committed_cast, runs="python", egress=["https://a.example/* with gone"], secrets=["gone"])
    action = run(committed_cast, {"code": "print(1)"})
    assert action.state == "failed" and "“gone” is not stored" in action.error
    assert Execution.objects.get().ended == "not started"


@pytest.mark.parametrize(
    ("fields", "why"),
    [({"egress": ["*"]}, r"tools\[0\].egress\[0\]: '\*' names no host"),
     ({"egress": ["a.example", "ftp://a.example"]}, r"egress\[1\]: .* is neither http:// nor https://"),
     ({"secrets": ["key"]}, r"tools\[0\].secrets: 'key' goes nowhere"),
     ({"egress": ["https://a.example/* with key"]}, r"egress: 'key' is not among the tool's secrets"),
     ({"egress": ["a.example"], "sends": "none"}, r"sends: is none, and egress lets it send"),
     ({"headers": {"a b": "c"}}, "is no name of a header")],
)  # fmt: skip
def test_a_world_file_is_refused_with_place_and_reason(cast: Cast, fields: dict[str, Any], why: str) -> None:
    with pytest.raises(WorldRefused, match=why):
        declare(cast, runs="http", **fields)


def test_a_request_is_sent_with_a_secret_that_nobody_sees(committed_cast: Cast, server: Receiver) -> None:
    secrets.put(name="api-key", value=KEY, by="tests")
    base = f"http://127.0.0.1:{server.port}"
    declare(
        committed_cast, runs="http", secrets=["api-key"], egress=[f"POST {base}/pay with api-key"],
        headers={"Authorization": "Bearer {secret:api-key}"},
    )  # fmt: skip
    server.answers.append(answer(b'{"key": "' + KEY.encode() + b'"}', b"Content-Type: application/json\r\n"))
    action = run(committed_cast, {"method": "POST", "url": f"{base}/pay", "json": {"sum": 5}})
    assert (action.state, action.result["status"]) == ("succeeded", 200), action.error
    assert action.result["body"] == '{"key": "' + "*" * len(KEY) + '"}'
    [got] = server.got
    assert (got.body, got.headers["authorization"]) == (b'{"sum":5}', f"Bearer {KEY}")
    assert told(action) == [("egress.allowed", f"POST {base}/pay"), ("egress.ended", f"POST {base}/pay")]


def test_a_request_that_may_go_nowhere_is_blocked_when_it_is_judged(cast: Cast) -> None:
    declare(cast, runs="http", egress=["GET https://api.example/v1/*"])
    action = cast.propose("it", {"url": "https://evil.example/"})
    assert action.state == "blocked" and "evil.example is not listed" in action.verdict["reasons"]
    action = cast.propose("it", {"url": "https://api.example/v1/../admin"})
    assert action.state == "blocked"
    assert cast.propose("it", {"url": "https://api.example/v1/a"}).state != "blocked"


def test_a_redirect_is_followed_on_listed_places_and_takes_no_key_elsewhere(
    committed_cast: Cast, server: Receiver, settings: Settings
) -> None:
    secrets.put(name="api-key", value=KEY, by="tests")
    with receiver.running() as other:
        settings.AGENTSEC_FETCH_ALLOW = [server.entry, other.entry]
        lines = [f"http://{server.entry}/* with api-key", f"http://{other.entry}/* with api-key"]
        declare(committed_cast, runs="http", secrets=["api-key"], egress=lines)
        moved = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://%s/b\r\n\r\n"
        server.answers.append(moved % other.entry.encode())
        other.answers += [moved % other.entry.encode(), answer(b"end")]
        headers = {"X-Key": "{secret:api-key}", "Authorization": "mine", "X-Kept": "1"}
        action = run(committed_cast, {"url": f"http://{server.entry}/a", "headers": headers})
        assert (action.result["body"], len(action.result["redirects"])) == ("end", 2)
        assert server.got[0].headers["x-key"] == KEY
        for got in other.got:
            assert got.headers["x-kept"] == "1" and not {"x-key", "authorization"} & set(got.headers)


def test_a_redirect_to_a_place_that_is_not_listed_is_an_answer(
    committed_cast: Cast, server: Receiver
) -> None:
    declare(committed_cast, runs="http", egress=[f"http://{server.entry}/a"])
    server.answers.append(
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://169.254.169.254/latest/\r\n\r\n"
    )
    action = run(committed_cast, {"url": f"http://{server.entry}/a"})
    assert (action.state, action.error, action.result["status"]) == ("failed", "HTTP 302", 302)
    assert len(server.got) == 1


def test_a_large_answer_is_cut_and_says_so(committed_cast: Cast, server: Receiver) -> None:
    declare(committed_cast, runs="http", egress=[f"http://{server.entry}/*"], limits={"output_bytes": 100})
    server.answers.append(answer(b"x" * 500))
    action = run(committed_cast, {"url": f"http://{server.entry}/a"})
    assert action.result["body"] == "x" * 100 and action.result["body_truncated"] and action.state == "failed"


def test_an_answer_that_is_no_text_is_an_artifact(committed_cast: Cast, server: Receiver) -> None:
    declare(committed_cast, runs="http", egress=[f"http://{server.entry}/*"])
    server.answers.append(answer(b"\x89PNG\0\xff"))
    action = run(committed_cast, {"url": f"http://{server.entry}/a"})
    assert action.state == "succeeded" and action.result["body"] is None
    assert [item["name"] for item in action.result["artifacts"]] == ["body"]
