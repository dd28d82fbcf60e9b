"""Secrets on the way out: the job holds a placeholder, the server gets the value, the job never sees it."""

from __future__ import annotations

import base64
import gzip
import json
import quopri
import socket
import ssl
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import settings as settings_
from hypothesis import strategies as st
from pytest_django import Settings

from approvals.egress.redaction import Needles, Redactor
from approvals.egress.vault import Vault
from tests import receiver
from tests.approvals.egress.kit import SECRETS, Door, certificate, door, everything
from tests.receiver import Receiver
from traces.problems import Refused

KEY = SECRETS["api-key"]


@pytest.fixture
def server(settings: Settings) -> Iterator[Receiver]:
    with receiver.running() as running:
        settings.AGENTSEC_FETCH_ALLOW = [f"{name}.example:{running.port}" for name in ("api", "www")]
        yield running


@pytest.fixture
def out(server: Receiver) -> Iterator[Door]:
    """A job whose key goes into the headers of POST /pay, and whose other into query and body of /form."""
    base = f"http://api.example:{server.port}"
    lines = [
        f"POST {base}/pay with api-key",
        f"{base}/form with api-key in query, api-key in body",
        f"{base}/x/*",
    ]
    with door(*lines, f"http://www.example:{server.port}/*", secrets=("api-key",)) as opened:
        yield opened


def url(server: Receiver, path: str, host: str = "api") -> str:
    return f"http://{host}.example:{server.port}{path}"


def test_the_job_holds_something_else(out: Door) -> None:
    held = json.dumps([out.environment, [str(out.out.job), repr(out.out), repr(out.out._courier)]])
    assert KEY not in held and json.dumps(KEY)[1:-1] not in held and out.placeholder() in held
    assert out.placeholder() != KEY and len(out.placeholder()) > 30


def test_the_server_gets_the_value(server: Receiver, out: Door) -> None:
    got = out.get(
        url(server, "/pay"), f"Authorization: Bearer {out.placeholder()}", method="POST", body=b"{}"
    )
    assert got.startswith(b"HTTP/1.1 204") and server.got[0].headers["authorization"] == f"Bearer {KEY}"
    assert out.gate.of("allowed")[0].secrets == ("api-key",) and KEY not in str(out.gate.told)


def test_basic_authentication_is_opened_filled_and_closed_again(server: Receiver, out: Door) -> None:
    pair = base64.b64encode(f"me:{out.placeholder()}".encode()).decode()
    out.get(url(server, "/pay"), f"Authorization: Basic {pair}", method="POST", body=b"{}")
    assert base64.b64decode(server.got[0].headers["authorization"].split()[1]).decode() == f"me:{KEY}"


def test_query_and_body_are_filled_in_their_own_writing(server: Receiver, out: Door) -> None:
    held = out.placeholder()
    out.get(url(server, f"/form?k={held}&a=b"))
    out.get(
        url(server, "/form"),
        "Content-Type: application/json",
        method="POST",
        body=f'{{"k":"{held}"}}'.encode(),
    )
    form = "Content-Type: application/x-www-form-urlencoded"
    out.get(url(server, "/form"), form, method="POST", body=f"k={held}&a=b".encode())
    query, as_json, as_form = server.got
    assert query.line == f"GET /form?k={quote(KEY, safe='')}&a=b HTTP/1.1"
    assert json.loads(as_json.body) == {"k": KEY} and as_form.body.decode() == f"k={quote_plus(KEY)}&a=b"


def test_a_placeholder_anywhere_else_is_a_refusal(server: Receiver, out: Door) -> None:
    held, say = out.placeholder(), f"X: {out.placeholder()}"
    got = [
        out.get(url(server, "/x/a"), say),
        out.get(url(server, "/", "www"), say),
        out.get(url(server, "/form"), say),
        out.get(url(server, "/pay"), method="POST", body=held.encode()),
        out.get(url(server, f"/pay?{held}"), say, method="POST", body=b"{}"),
        out.get(url(server, f"/x/{held}")),
        out.get(url(server, "/x/a"), f"{held}: 1"),
        out.get(url(server, "/pay"), say),
    ]
    assert all(each.startswith(b"HTTP/1.1 403") for each in got) and server.got == []
    assert len(out.gate.of("refused")) == len(got) and "api-key may not go" in out.gate.of("refused")[0].why


def test_without_tls_a_secret_goes_only_where_the_operator_says(server: Receiver, settings: Settings) -> None:
    settings.AGENTSEC_FETCH_ALLOW = []
    with door(
        "http://api.example/* with api-key", secrets=("api-key",), hosts={"api.example": ["1.1.1.1"]}
    ) as out:
        got = out.get("http://api.example/", f"X: {out.placeholder()}")
    assert got.startswith(b"HTTP/1.1 403") and b"https://" in got


ECHOES = {
    "plain": KEY, "json": json.dumps({"got": KEY}), "url": quote(KEY, safe=""), "form": quote_plus(KEY),
    "base64": base64.b64encode(KEY.encode()).decode(),
    "base64, shifted": base64.b64encode(b"a" + KEY.encode() + b"zz").decode(),
    "base64, twice shifted": base64.b64encode(b"ab" + KEY.encode()).decode(),
    "base64, url": base64.urlsafe_b64encode(KEY.encode()).decode(), "hex": KEY.encode().hex(),
    "upper": KEY.upper(), "every byte": "".join(f"%{byte:02X}" for byte in KEY.encode()),
    "unicode escapes": "".join(f"\\u{ord(char):04X}" for char in KEY),
    "html": KEY.replace("&", "&amp;").replace('"', "&quot;"),
    "references": "".join(f"&#{ord(c)};" for c in KEY),
    "hex references": "".join(f"&#x{ord(c):X};" for c in KEY), "slashes": json.dumps(KEY).replace("/", "\\/"),
    "mime": base64.encodebytes(b"x" * 45 + KEY.encode() + b"zz").decode(),
    "base64 twice": base64.b64encode(base64.b64encode(KEY.encode())).decode(),
    "url twice": quote(quote(KEY, safe=""), safe=""), "folded": KEY[:9] + "\r\n " + KEY[9:],
    "hex, spaced": KEY.encode().hex(" "), "hex, colons": KEY.encode().hex(":"),
    "quoted-printable": quopri.encodestring(b"x" * 66 + KEY.encode()).decode(),
    "dump": f"00000000: {KEY.encode().hex(' ', 2)}  {KEY}\n", "colour": KEY[:9] + "\x1b[0m" + KEY[9:],
    "utf-16": KEY.encode("utf-16-le").decode("latin-1"), "utf-32": KEY.encode("utf-32-be").decode("latin-1"),
}  # fmt: skip


@pytest.mark.parametrize("form", ECHOES)
def test_an_endpoint_that_echoes_gives_nothing_away(server: Receiver, out: Door, form: str) -> None:
    said = ECHOES[form].encode("latin-1")
    head = (
        b"HTTP/1.1 200 OK\r\nX-Echo: "
        + quote(KEY).encode()
        + b"\r\nContent-Length: %d\r\n\r\n" % (len(said) + 8)
    )
    server.answers.append(head + b"abc " + said + b" xyz")
    got = out.get(url(server, "/x/echo"))
    assert got.endswith(b" xyz") and said not in got and quote(KEY).encode() not in got
    assert got.count(b"**") > 2 and KEY[2:10].encode() not in got


def test_an_echo_in_drips_gives_nothing_away(server: Receiver, out: Door) -> None:
    def drip(wire: socket.socket) -> None:
        wire.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for char in f"<{KEY}>":
            wire.sendall(b"1\r\n" + char.encode() + b"\r\n")
        wire.sendall(b"0\r\nX-Trailer: " + KEY.encode() + b"\r\n\r\n")

    server.answers.append(drip)
    got = out.get(url(server, "/x/echo"))
    assert b"<" + b"*" * len(KEY) + b">" in got and KEY.encode() not in got


@pytest.mark.parametrize("packed", ["gzip", "deflate"])
def test_a_packed_echo_is_unpacked_and_gives_nothing_away(server: Receiver, out: Door, packed: str) -> None:
    body = gzip.compress(KEY.encode()) if packed == "gzip" else zlib.compress(KEY.encode())
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {packed}\r\nContent-Length: {len(body)}\r\n\r\n"
    server.answers.append(head.encode() + body)
    got = out.get(url(server, "/x/echo"), "Accept-Encoding: gzip, br", "Range: bytes=0-3")
    assert b"*" * len(KEY) in got and b"content-encoding" not in got.lower()
    assert server.got[0].headers["accept-encoding"] == "identity" and "range" not in server.got[0].headers


def test_what_cannot_be_unpacked_is_not_passed_on(server: Receiver, out: Door) -> None:
    server.answers += [
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, gzip\r\nContent-Length: 4\r\n\r\nabcd",
    ]
    for _ in range(2):
        assert out.get(url(server, "/x/echo")).startswith(b"HTTP/1.1 502")


def test_a_bomb_is_counted_unpacked(server: Receiver) -> None:
    body = gzip.compress(b"\0" * 5_000_000)
    server.answers.append(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    line = f"http://api.example:{server.port}/* with api-key"
    with door(line, secrets=("api-key",), network_bytes=1_000_000) as out:
        assert len(out.get(url(server, "/"))) < 1_100_000


def test_a_host_that_gets_a_secret_is_read_at_every_port(tmp_path: Path, settings: Settings) -> None:
    """What was sent to one port is not fetched unseen from another."""
    path = certificate(tmp_path, "api.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    settings.AGENTSEC_EGRESS_CA_FILE = str(path)
    with receiver.running(context) as server:
        settings.AGENTSEC_FETCH_ALLOW = [f"api.example:{server.port}"]
        server.answers.append(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(KEY) + KEY.encode())
        host = f"api.example:{server.port}"
        with (
            door(host, "https://api.example/* with api-key", secrets=("api-key",)) as out,
            out.connect(host) as wire,
            out.trust.wrap_socket(wire, server_hostname="api.example") as inside,
        ):
            inside.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            assert everything(inside).endswith(b"*" * len(KEY))


@pytest.mark.parametrize("value", ["short", "x" * 5000])
def test_a_value_that_cannot_be_guarded_is_not_used(value: str) -> None:
    with (
        pytest.raises(Refused, match="cannot be guarded"),
        door("https://a.example/* with api-key", secrets=("api-key",), values={"api-key": value}),
    ):
        raise AssertionError("nobody gets here")


def test_a_value_with_a_line_break_breaks_no_header_and_is_not_quoted(server: Receiver) -> None:
    line = f"http://api.example:{server.port}/* with api-key"
    with door(line, secrets=("api-key",), values={"api-key": "secret\r\nEvil: yes"}) as out:
        got = out.get(url(server, "/"), f"X: {out.placeholder()}")
    assert got.startswith(b"HTTP/1.1 502") and b"Evil" not in got and server.got == []


def test_two_secrets_never_share_a_variable() -> None:
    with pytest.raises(ValueError, match="one variable"):
        _ = Vault.random(["a-b", "a.b"], lambda name: "long enough").environment


def test_each_run_has_placeholders_of_its_own() -> None:
    one, two = (Vault.random(["api-key"], SECRETS.__getitem__) for _ in range(2))
    assert one.placeholders != two.placeholders and KEY not in repr(one)


CHARACTERS = st.characters(exclude_categories=["C", "Z"])


@settings_(max_examples=30)
@given(
    value=st.text(CHARACTERS, min_size=8, max_size=40), step=st.integers(1, 60),
    around=st.tuples(st.binary(max_size=50), st.binary(max_size=50)),
)  # fmt: skip
def test_however_it_is_cut_the_value_is_gone_and_the_length_stays(
    value: str, around: tuple[bytes, bytes], step: int
) -> None:
    data = around[0] + value.encode() + around[1]
    redactor = Redactor(Needles([value]))
    safe = b"".join(redactor.feed(data[at : at + step]) for at in range(0, len(data), step)) + redactor.end()
    assert value.encode() not in safe and len(safe) == len(data)
