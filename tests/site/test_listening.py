"""Taking the address: what cannot work is said in one line, before anything slow."""

from __future__ import annotations

import socket

import pytest

from agentsec_site.home import SetupError
from agentsec_site.listening import is_loopback, listen


def test_a_port_in_use_is_named_with_what_to_do() -> None:
    first = listen("127.0.0.1", 0)
    with (
        first.socket,
        pytest.raises(SetupError, match=rf"port {first.port} on 127.0.0.1 is in use; .*--port"),
    ):
        listen("127.0.0.1", first.port)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_a_host_that_is_not_this_machine_is_named(host: str) -> None:
    with pytest.raises(SetupError, match="no such address on this machine"):
        listen(host, 0)


@pytest.mark.parametrize("port", [-1, 65536, 10**12])
def test_a_port_that_is_none_is_named(port: int) -> None:
    with pytest.raises(SetupError, match="a port is a number from 0 to 65535"):
        listen("127.0.0.1", port)


def test_a_wildcard_address_is_reached_through_loopback() -> None:
    found = listen("0.0.0.0", 0)
    with found.socket:
        assert found.url == f"http://localhost:{found.port}"


def test_a_name_at_which_somebody_else_answers_is_not_used() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as other:
        found = listen("127.0.0.1", other.getsockname()[1])
        with found.socket:
            assert found.url == f"http://127.0.0.1:{found.port}"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("10.0.0.1", False),
        ("localhost.example.org", False),
        ("2130706433", False),
        ("::ffff:10.0.0.1", False),
    ],
)
def test_only_loopback_counts_as_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
