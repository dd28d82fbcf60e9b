"""The proxy as a job meets it: what is listed goes out, everything else is refused and written down."""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pytest_django import Settings

from tests import receiver
from tests.approvals.egress.kit import Door, Noted, certificate, door, everything
from tests.receiver import Receiver


def answer(body: bytes, head: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n" % (len(body), head) + body


@pytest.fixture
def server(settings: Settings) -> Iterator[Receiver]:
    with receiver.running() as running:
        settings.AGENTSEC_FETCH_ALLOW = [f"{name}.example:{running.port}" for name in ("api", "www")]
        yield running


@pytest.fixture
def secure(settings: Settings, tmp_path: Path) -> Iterator[Receiver]:
    """A TLS server that is api.example and www.example, under the operator's own authority."""
    path = certificate(tmp_path, "api.example", "www.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    settings.AGENTSEC_EGRESS_CA_FILE = str(path)
    with receiver.running(context) as running:
        settings.AGENTSEC_FETCH_ALLOW = [f"{name}.example:{running.port}" for name in ("api", "www")]
        yield running


def ask(wire: socket.socket, out: Door, host: str, request: bytes) -> bytes:
    """One request inside TLS, as a job sends it."""
    with out.trust.wrap_socket(wire, server_hostname=host) as inside:
        inside.sendall(request)
        return everything(inside)


def test_a_listed_place_is_reached_and_written_down(server: Receiver) -> None:
    server.answers.append(answer(b"hello", b"X-Kind: real\r\n"))
    url = f"http://api.example:{server.port}/v1/a?token=1"
    with door(f"GET http://api.example:{server.port}/v1/*") as out:
        got = out.get(url)
    assert got.startswith(b"HTTP/1.1 200") and got.endswith(b"hello") and b"x-kind: real" in got.lower()
    assert server.got[0].line == "GET /v1/a?token=1 HTTP/1.1"
    allowed, ended = out.gate.told
    assert (allowed.kind, allowed.what) == ("allowed", f"GET http://api.example:{server.port}/v1/a?…")
    assert (ended.kind, ended.status, ended.received, allowed.address) == ("ended", 200, 5, "127.0.0.1")


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/a"), ("GET", "/v2"), ("GET", "/v1"), ("GET", "/v1/../admin"), ("GET", "/v1/%2e%2e/admin"),
     ("GET", "/v1/..;/admin"), ("GET", "/v1/%2f..%2fadmin"), ("GET", "/v1//a"), ("GET", "/v1/%252e%252e/a"),
     ("GET", "/v1/.%2E/"), ("GET", "/v1/a%5c..%5cb")],
)  # fmt: skip
def test_another_method_or_path_stays_inside(server: Receiver, method: str, path: str) -> None:
    with door(f"GET http://api.example:{server.port}/v1/*") as out:
        got = out.get(f"http://api.example:{server.port}{path}", method=method)
    assert got.startswith(b"HTTP/1.1 403") and server.got == []
    assert [told.kind for told in out.gate.told] == ["refused"]


def test_another_host_or_port_stays_inside(server: Receiver) -> None:
    with door(f"api.example:{server.port}") as out:
        assert out.get(f"http://www.example:{server.port}/").startswith(b"HTTP/1.1 403")
        assert out.get("http://api.example:81/").startswith(b"HTTP/1.1 403")
    assert server.got == [] and len(out.gate.of("refused")) == 2


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "172.16.5.5", "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.100.100.200",
     "168.63.129.16", "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fd00:ec2::254",
     "ff02::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "2002:7f00:1::", "2001::1"],
)  # fmt: skip
def test_a_listed_name_with_an_inner_address_is_not_dialled(settings: Settings, address: str) -> None:
    settings.AGENTSEC_FETCH_ALLOW = []
    with door("http://api.example/*", hosts={"api.example": [address]}) as out:
        assert out.get("http://api.example/").startswith(b"HTTP/1.1 403")
    assert "may not be reached" in out.gate.of("refused")[0].why


def test_a_name_that_changes_between_two_looks_is_judged_at_each(
    server: Receiver, settings: Settings
) -> None:
    """DNS rebinding: what is dialled is what was judged, and the next request is judged again."""
    settings.AGENTSEC_FETCH_ALLOW = [f"127.0.0.1:{server.port}"]
    hosts = {"api.example": ["127.0.0.1"]}
    with door(f"http://api.example:{server.port}/*", hosts=hosts) as out:
        assert out.get(f"http://api.example:{server.port}/").startswith(b"HTTP/1.1 204")
        hosts["api.example"] = ["169.254.169.254"]
        assert out.get(f"http://api.example:{server.port}/").startswith(b"HTTP/1.1 403")
    assert len(server.got) == 1


AMBIGUOUS = [
    b"POST U HTTP/1.1\r\nHost: H\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET U HTTP/1.1\nHost: H\n\n",
    b"GET U HTTP/1.1\r\nHost: H\r\nX: a\n b\r\n\r\n",
    b"GET U HTTP/1.1\r\nHost: H\r\nX: a\r\n b\r\n\r\n",
    b"GET U HTTP/1.1\r\nHost: H\r\nX: a\rb\r\n\r\n",
    b"GET U HTTP/1.1\r\nHost: H\r\nX: a\0b\r\n\r\n",
    b"GET U HTTP/1.1\r\nHost: www.example\r\n\r\n",
    b"GET U HTTP/1.1\r\nHost: H\r\nHost: www.example\r\n\r\n",
    b"GET U HTTP/1.1\r\n\r\n",
    b"GET /v1/a HTTP/1.1\r\nHost: H\r\n\r\n",
    b"GET https://api.example/ HTTP/1.1\r\nHost: api.example\r\n\r\n",
    b"GET http://a:b@api.example/ HTTP/1.1\r\nHost: api.example\r\n\r\n",
    b"POST U HTTP/1.1\r\nHost: H\r\nContent-Length: 5, 6\r\n\r\nhello",
    b"POST U HTTP/1.1\r\nHost: H\r\nContent-Length: +5\r\n\r\nhello",
    b"POST U HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"POST U HTTP/1.0\r\nHost: H\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST U HTTP/1.1\r\nHost: H\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"GET U HTTP/2.0\r\nHost: H\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"CONNECT H HTTP/1.1\r\nHost: www.example\r\n\r\n",
    b"CONNECT H HTTP/1.1\r\nHost: H\r\n\r\nearly",
    b"CONNECT http://H/ HTTP/1.1\r\nHost: H\r\n\r\n",
    b"\x16\x03\x01\x00\x05hello\n\n", b"\x05\x01\x00\n", b"\0" * 100, b"GET " + b"a" * 70_000,
    b"GET U HTTP/1.1\r\nHost: H\r\n" + b"X: y\r\n" * 200 + b"\r\n",
]  # fmt: skip


@pytest.mark.parametrize("request_", AMBIGUOUS, ids=range(len(AMBIGUOUS)))
def test_what_can_be_read_in_two_ways_is_refused(server: Receiver, request_: bytes) -> None:
    host = f"api.example:{server.port}".encode()
    data = request_.replace(b"U", b"http://" + host + b"/v1/a").replace(b" H ", b" " + host + b" ")
    data = data.replace(b"Host: H", b"Host: " + host)
    with door(f"http://api.example:{server.port}/*", f"https://api.example:{server.port}/x") as out:
        got = out.say(data)
    assert got[:10] in (b"HTTP/1.1 4", b"HTTP/1.1 5") and got.count(b"HTTP/1.1 ") == 1 and server.got == []
    assert out.gate.told and {told.kind for told in out.gate.told} == {"refused"}


def test_a_second_request_on_the_wire_is_judged_like_the_first(server: Receiver) -> None:
    one = f"GET http://api.example:{server.port}/v1/a HTTP/1.1\r\nHost: api.example:{server.port}\r\n\r\n"
    two = one.replace("/v1/a", "/admin")
    with door(f"http://api.example:{server.port}/v1/*") as out:
        got = out.say((one + two).encode())
    assert got.startswith(b"HTTP/1.1 204") and b"HTTP/1.1 403" in got and len(server.got) == 1


def test_hop_by_hop_headers_and_what_connection_names_stay_here(server: Receiver) -> None:
    with door(f"http://api.example:{server.port}/*") as out:
        out.get(
            f"http://api.example:{server.port}/", "Connection: x-mine", "X-Mine: 1", "Upgrade: websocket",
            "Proxy-Authorization: Basic YTpi", "TE: trailers", "X-Kept: 1",
        )  # fmt: skip
    assert {"x-mine", "upgrade", "proxy-authorization", "te"} & set(server.got[0].headers) == set()
    assert server.got[0].headers["x-kept"] == "1"


def test_a_chunked_body_arrives_with_a_length_of_its_own(server: Receiver) -> None:
    host = f"api.example:{server.port}"
    head = f"POST http://{host}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
    with door(f"http://api.example:{server.port}/*") as out:
        out.say((head + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").encode())
    assert (server.got[0].body, server.got[0].headers["content-length"]) == (b"abcde", "5")
    assert "transfer-encoding" not in server.got[0].headers


def test_a_head_is_answered_with_a_length_and_no_body(server: Receiver) -> None:
    server.answers.append(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
    with door(f"HEAD http://api.example:{server.port}/*") as out:
        got = out.get(f"http://api.example:{server.port}/", method="HEAD").lower()
    assert b"content-length: 500" in got and got.endswith(b"\r\n\r\n")


def test_a_server_that_switches_protocols_or_never_begins_is_no_answer(server: Receiver) -> None:
    server.answers += [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n" + b"raw" * 10,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    ]
    with door(f"http://api.example:{server.port}/*") as out:
        got = [
            out.get(f"http://api.example:{server.port}/", "Connection: upgrade", "Upgrade: x")
            for _ in range(3)
        ]
    assert all(each.startswith(b"HTTP/1.1 502") and b"raw" not in each for each in got)


def test_an_answer_that_is_cut_off_is_never_taken_for_whole(server: Receiver) -> None:
    server.answers.append(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf")
    with door(f"http://api.example:{server.port}/*") as out:
        got = out.get(f"http://api.example:{server.port}/")
    assert b"ontent-length: 50" in got.lower() and got.count(b"HTTP/1.1 ") <= 1 and len(got) < 200


def test_tls_to_a_host_without_conditions_is_not_read(secure: Receiver, tmp_path: Path) -> None:
    secure.answers.append(answer(b"unread"))
    with door(f"api.example:{secure.port}") as out:
        request = b"GET /any HTTP/1.1\r\nHost: api.example\r\n\r\n"
        got = ask(out.connect(f"api.example:{secure.port}"), out, "api.example", request)
    assert got.endswith(b"unread")
    [ended] = out.gate.of("ended")
    assert ended.what == f"CONNECT api.example:{secure.port}" and ended.received > len("unread")


def test_tls_that_asks_for_another_host_is_not_carried(secure: Receiver) -> None:
    with door(f"api.example:{secure.port}") as out, pytest.raises(OSError, match=r".+"):
        ask(out.connect(f"api.example:{secure.port}"), out, "www.example", b"GET / HTTP/1.1\r\n\r\n")
    assert secure.got == []
    assert "another host" in out.gate.of("refused")[0].why


@pytest.mark.parametrize(
    "data", [b"SSH-2.0-x\r\n", b"GET / HTTP/1.1\r\nHost: api.example\r\n\r\n", b"\x16\x03\x01\0\0"]
)
def test_what_is_not_tls_is_not_carried(server: Receiver, data: bytes) -> None:
    with door(f"api.example:{server.port}") as out, out.connect(f"api.example:{server.port}") as wire:
        wire.sendall(data)
        assert everything(wire) == b""
    assert server.got == [] and "TLS" in out.gate.of("refused")[0].why


def test_tls_with_conditions_is_read_under_the_runs_own_authority(secure: Receiver) -> None:
    secure.answers.append(answer(b"ok"))
    with door(f"GET https://api.example:{secure.port}/v1/*") as out:
        host = f"api.example:{secure.port}"
        get = f"GET /v1/a HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        assert ask(out.connect(host), out, "api.example", get).endswith(b"ok")
        for request in (get.replace(b"GET", b"POST"), get.replace(b"v1", b"v2")):
            assert ask(out.connect(host), out, "api.example", request).startswith(b"HTTP/1.1 403")
        for request in (
            get.replace(b"Host: api", b"Host: www"),
            get.replace(b"/v1", b"https://api.example/v1"),
        ):
            assert ask(out.connect(host), out, "api.example", request).startswith(b"HTTP/1.1 400")
        with pytest.raises(OSError, match=r".+"):
            ask(out.connect(host), out, "www.example", get)
    assert len(secure.got) == 1 and out.gate.of("allowed")[0].what == f"GET https://{host}/v1/a"
    assert out.gate.of("refused")[-1].why.startswith("its TLS is for another host")


def test_the_runs_authority_may_speak_for_its_own_hosts_alone(secure: Receiver) -> None:
    with door(f"GET https://api.example:{secure.port}/*") as out:
        signer = out.out._authority
        assert signer is not None
        near, far = socket.socketpair()
        with ThreadPoolExecutor(1) as pool, near, far:
            serving = pool.submit(lambda: signer.context("www.example").wrap_socket(far, server_side=True))
            with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree"):
                out.trust.wrap_socket(near, server_hostname="www.example")
            near.close()
            assert serving.exception(5) is not None


def test_a_server_that_nobody_vouches_for_is_not_spoken_to(secure: Receiver, settings: Settings) -> None:
    settings.AGENTSEC_EGRESS_CA_FILE = ""
    with door(f"GET https://api.example:{secure.port}/*") as out:
        request = f"GET / HTTP/1.1\r\nHost: api.example:{secure.port}\r\n\r\n".encode()
        got = ask(out.connect(f"api.example:{secure.port}"), out, "api.example", request)
    assert got.startswith(b"HTTP/1.1 502") and b"certificate" in got and secure.got == []


def test_a_start_that_is_over_reaches_nothing(server: Receiver) -> None:
    gate = Noted(shut=True)
    with door(f"http://api.example:{server.port}/*", gate=gate) as out:
        assert out.get(f"http://api.example:{server.port}/").startswith(b"HTTP/1.1 403")
    assert server.got == [] and gate.of("refused")[0].why == "this start is over"


def test_the_runs_bytes_are_counted_over_all_its_connections(server: Receiver) -> None:
    server.answers += [answer(b"x" * 600), answer(b"x" * 600)]
    with door(f"http://api.example:{server.port}/*", network_bytes=1000) as out:
        assert out.get(f"http://api.example:{server.port}/").endswith(b"x" * 600)
        assert not out.get(f"http://api.example:{server.port}/").endswith(b"x" * 600)


def test_headers_are_counted_both_ways(server: Receiver) -> None:
    """What leaves in addresses and headers, and comes back in headers, 1xx answers and chunks, leaves too."""
    url = f"http://api.example:{server.port}/"
    with door(f"{url}*", network_bytes=10_000) as out:
        got = [out.get(url + "A" * 1000, "X-Data: " + "B" * 3000) for _ in range(5)]
    assert [each[9:12] for each in got] == [b"204", b"204", b"403", b"403", b"403"] and len(server.got) == 2
    for waste in (
        answer(b"", b"X-D: " + b"C" * 3000 + b"\r\n"),
        b"HTTP/1.1 103 Early Hints\r\nX: %b\r\n\r\n" % (b"C" * 3000) + answer(b""),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;%b\r\na\r\n0\r\n\r\n" % (b"C" * 3000),
    ):
        server.answers[:] = [waste] * 5
        with door(f"{url}*", network_bytes=10_000) as out:
            got = [out.get(url) for _ in range(5)]
            assert sum(each.startswith(b"HTTP/1.1 200") and b"ended" not in each for each in got) <= 3
            assert "limit network_bytes" in "".join(told.why for told in out.gate.told)


def test_what_a_job_sends_is_counted_before_it_is_kept(server: Receiver) -> None:
    """Bodies are held in the worker's memory: all of them together have the run's limit."""
    with door(f"http://api.example:{server.port}/*", network_bytes=1500) as out:
        url = f"http://api.example:{server.port}/"
        assert out.get(url, method="POST", body=b"x" * 900).startswith(b"HTTP/1.1 204")
        assert out.get(url, method="POST", body=b"x" * 900).startswith(b"HTTP/1.1 403")
    assert len(server.got) == 1


def test_two_hundred_at_once_are_all_answered(server: Receiver) -> None:
    with door(f"http://api.example:{server.port}/*") as out, ThreadPoolExecutor(200) as pool:
        got = list(pool.map(lambda n: out.get(f"http://api.example:{server.port}/{n}")[:12], range(200)))
    assert got == [b"HTTP/1.1 204"] * 200 and len(server.got) == 200


def test_the_end_of_a_run_ends_what_it_waits_for(server: Receiver) -> None:
    """A server that never answers holds nobody."""
    asked, freed = threading.Event(), threading.Event()

    def hang(wire: socket.socket) -> None:
        asked.set()
        freed.wait(10)

    server.answers.append(hang)
    host = f"api.example:{server.port}"
    with door(f"http://{host}/*") as out:
        wire = out.wire()
        wire.sendall(f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert asked.wait(5)
    freed.set()
    with wire:
        assert not everything(wire).startswith(b"HTTP/1.1 2")
    assert [told.kind for told in out.gate.told] == ["allowed", "ended"]


def test_garbage_from_many_wires_stops_nobody(server: Receiver) -> None:
    """Who hammers the proxy with noise is refused each time, and the next honest request is served."""
    noise = random.Random(7)
    host = f"api.example:{server.port}"

    def hammer(_: int) -> None:
        with out.wire() as wire, contextlib.suppress(OSError):
            wire.sendall(noise.randbytes(noise.randrange(1, 3000)) + b"\r\n\r\n")
            wire.shutdown(socket.SHUT_WR)
            everything(wire)

    with door(f"http://{host}/*") as out, ThreadPoolExecutor(32) as pool:
        list(pool.map(hammer, range(300)))
        assert out.get(f"http://{host}/").startswith(b"HTTP/1.1 204")
    assert len(server.got) == 1 and len(out.gate.of("allowed")) == 1
