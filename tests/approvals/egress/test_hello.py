"""The TLS hello: its name found in whatever pieces it comes, and nothing taken for one that is none."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.egress import hello
from approvals.egress.hello import NoHello


def made(name: str | None) -> bytes:
    """A real hello, as Python's own TLS says it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


REAL = made("Api.Example")


def test_the_name_is_found() -> None:
    assert hello.read(REAL) == hello.Hello("api.example") and hello.read(made(None)) == hello.Hello("")


def test_it_may_come_in_any_pieces() -> None:
    assert all(hello.read(REAL[:cut]) is None for cut in range(len(REAL)))
    body = REAL[5:]
    parts = b"".join(
        b"\x16\x03\x01" + len(body[at : at + 7]).to_bytes(2) + body[at : at + 7]
        for at in range(0, len(body), 7)
    )
    assert hello.read(parts) == hello.Hello("api.example")


def test_one_that_hides_its_host_is_none() -> None:
    extension = b"\xfe\x0d\x00\x01\x00"
    total = int.from_bytes(REAL[3:5]) + len(extension)
    at = REAL.index(b"\x00\x00\x00\x10\x00\x0e\x00\x00\x0b")
    count = int.from_bytes(REAL[at - 2 : at]) + len(extension)
    hiding = (
        REAL[:3] + total.to_bytes(2) + REAL[5:6] + (total - 4).to_bytes(3) + REAL[9 : at - 2]
        + count.to_bytes(2) + extension + REAL[at:]
    )  # fmt: skip
    with pytest.raises(NoHello, match="encrypted"):
        hello.read(hiding)


@given(st.binary(max_size=200), st.integers(0, 400))
def test_noise_is_none_and_breaks_nothing(noise: bytes, at: int) -> None:
    for data in (noise, REAL[:at] + noise + REAL[at:], REAL[:at] + noise):
        try:
            found = hello.read(data)
        except NoHello:
            continue
        assert found is None or isinstance(found.name, str)


def test_a_hello_without_end_is_refused() -> None:
    endless = b"\x16\x03\x01\x40\x00" + b"\x01\xff\xff\xff" + b"\0" * 16380
    with pytest.raises(NoHello):
        hello.read(endless * 5)
