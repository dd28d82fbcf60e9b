"""The guarded fetcher against real servers that redirect, drip, never end, and change their names."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pytest_django import Settings

from policies import fetch
from tests import receiver
from tests.receiver import Receiver
from traces.problems import Refused


@pytest.fixture
def server(settings: Settings) -> Iterator[Receiver]:
    """A server that the operator lists."""
    with receiver.running() as running:
        settings.AGENTSEC_FETCH_ALLOW = [running.entry]
        yield running


def refused(url: str, **more: object) -> str:
    with pytest.raises(Refused) as caught:
        fetch.fetch("GET", url, **more)  # type: ignore[arg-type]
    return caught.value.code


def answer(body: bytes, head: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n" % (len(body), head) + body


def test_a_listed_server_is_asked_and_its_answer_comes_back(server: Receiver) -> None:
    server.answers.append(answer(b"hello", b"X-Kind: real\r\n"))
    got = fetch.fetch("POST", server.url, headers={"X-One": "1"}, body=b"{}")
    assert (got.status, got.body, got.header("X-Kind")) == (200, b"hello", "real")
    sent = server.got[0]
    assert (sent.line, sent.body, sent.headers["x-one"]) == ("POST /hook HTTP/1.1", b"{}", "1")


def test_a_server_on_loopback_that_nobody_listed_hears_nothing(server: Receiver, settings: Settings) -> None:
    settings.AGENTSEC_FETCH_ALLOW = []
    assert refused(server.url) == "forbidden" and server.got == []


def test_a_redirect_to_the_clouds_credentials_is_not_followed(server: Receiver) -> None:
    server.answers.append(
        b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest/\r\nContent-Length: 0\r\n\r\n"
    )
    assert (fetch.fetch("GET", server.url).status, len(server.got)) == (302, 1)


def test_a_name_that_changes_after_the_look_is_dialled_where_it_was_looked_at(
    server: Receiver, settings: Settings
) -> None:
    """The resolver says a listed address first and anything later: there is no later."""
    looks = []

    def rebinding(host: str, port: int) -> list[str]:
        looks.append(host)
        return ["127.0.0.1"] if len(looks) == 1 else ["169.254.169.254"]

    got = fetch.fetch("GET", f"http://rebind.example:{server.port}/x", resolve=rebinding)
    assert (got.status, got.address, len(looks)) == (204, "127.0.0.1", 1)
    assert server.got[0].headers["host"] == f"rebind.example:{server.port}"


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:169.254.169.254", "fe80::1%eth0",
                "64:ff9b::7f00:1"]
)  # fmt: skip
def test_a_public_name_with_an_inner_address_is_refused(address: str, settings: Settings) -> None:
    settings.AGENTSEC_FETCH_ALLOW = []
    assert refused("https://innocent.example/", resolve=lambda host, port: [address]) == "forbidden"


@pytest.mark.parametrize("host", ["localhost", "0x7f.1", "2130706433", "127.1", "017700000001", "[::1]"])
def test_loopback_by_any_other_name_is_loopback(host: str, settings: Settings) -> None:
    settings.AGENTSEC_FETCH_ALLOW = []
    assert refused(f"https://{host}/") in ("forbidden", "unavailable")


@pytest.mark.parametrize(
    "url",
    ["ftp://a.example/", "file:///etc/passwd", "https://", "https://user:pw@a.example/", "https://a.example#x",
     "https://a.example\\@b.example/", "https://a.example:0/", "https://a.example:99999/",
     "https://a b.example/",
     "https://bücher.example/", "https://a.example/\r\nX: y", "https://@a.example/", "https://[fe80::1%25eth0]/",
     "https://a..example/", "//a.example/", "gopher://a.example/", "https://a.example/" + "x" * 3000],
)  # fmt: skip
def test_what_is_no_plain_address_is_refused_before_anything_is_asked(url: str) -> None:
    def never(host: str, port: int) -> list[str]:
        raise AssertionError("nobody should have looked")

    assert refused(url, resolve=never) == "invalid"


def test_without_tls_only_listed_places_are_spoken_to(settings: Settings) -> None:
    settings.AGENTSEC_FETCH_ALLOW = []
    assert refused("http://a.example/", resolve=lambda host, port: ["1.1.1.1"]) == "forbidden"


def test_a_server_without_tls_is_told_nothing(server: Receiver) -> None:
    assert refused(server.url.replace("http:", "https:"), seconds=2.0) == "unavailable"


def test_an_endless_body_ends_at_the_limit(server: Receiver) -> None:
    def endless(wire: socket.socket) -> None:
        wire.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(2000):
            wire.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")

    server.answers.append(endless)
    assert refused(server.url, most=50_000) == "too_large"


def test_a_server_that_drips_is_left_at_the_deadline(server: Receiver) -> None:
    def drip(wire: socket.socket) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 10_000:
            wire.sendall(bytes([byte]))
            time.sleep(0.02)

    server.answers.append(drip)
    began = time.monotonic()
    assert refused(server.url, seconds=0.2) == "unavailable" and time.monotonic() - began < 1


@pytest.mark.parametrize(
    "bomb",
    [b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000, b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,
     b"garbage\r\n\r\n",
     b"HTTP/1.1 100 Continue\r\n\r\n" * 50, b"",
     b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort"],
)  # fmt: skip
def test_a_broken_answer_is_an_error_that_quotes_nothing(server: Receiver, bomb: bytes) -> None:
    server.answers.append(bomb)
    assert refused(server.url, seconds=3.0) == "unavailable"


def test_a_resolver_that_hangs_is_left_behind() -> None:
    def hanging(host: str, port: int) -> list[str]:
        time.sleep(0.5)
        return ["1.1.1.1"]

    assert refused("https://slow.example/", resolve=hanging, seconds=0.05) == "unavailable"


@dataclass(frozen=True)
class Secure:
    """A server with a certificate for good.example, by an authority of its own."""

    port: int
    authority: Path

    def ask(self, host: str) -> int:
        url = f"https://{host}:{self.port}/"
        return fetch.fetch("GET", url, resolve=lambda *asked: ["127.0.0.1"], seconds=5).status


@pytest.fixture
def secure(settings: Settings, tmp_path: Path) -> Iterator[Secure]:
    certificate = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with receiver.running(context) as running:
        settings.AGENTSEC_FETCH_ALLOW = [f"{name}.example:{running.port}" for name in ("good", "bad")]
        fetch._tls.cache_clear()
        yield Secure(running.port, certificate)
    fetch._tls.cache_clear()


def self_signed(folder: Path) -> Path:
    """A key and a certificate for good.example, in one file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "good.example")])
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(1).not_valid_before(now - timedelta(hours=1))
    built = built.not_valid_after(now + timedelta(hours=1))
    built = built.add_extension(x509.SubjectAlternativeName([x509.DNSName("good.example")]), critical=False)
    signed = built.sign(key, SHA256())
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = folder / "good.pem"
    path.write_bytes(key.private_bytes(*form) + signed.public_bytes(Encoding.PEM))
    return path


def test_an_authority_that_nobody_trusts_is_not_trusted(secure: Secure) -> None:
    with pytest.raises(Refused, match="certificate"):
        secure.ask("good.example")


def test_a_certificate_holds_for_its_own_name_alone(secure: Secure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(secure.authority))
    assert secure.ask("good.example") == 204
    with pytest.raises(Refused, match="certificate"):
        secure.ask("bad.example")


@pytest.mark.parametrize("value", ["a\r\nEvil: 1", "a\nb", "a\0b"])
def test_no_header_is_smuggled_in(server: Receiver, value: str) -> None:
    with pytest.raises(Refused):
        fetch.fetch("POST", server.url, headers={"X": value})
    assert server.got == []
