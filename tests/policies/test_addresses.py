"""Which addresses the site may dial: what is public, and what the operator lists."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.addresses import classify, is_host, parse, reach, read_list

V4 = st.integers(0, 2**32 - 1).map(IPv4Address)
V6 = st.integers(0, 2**128 - 1).map(IPv6Address)
PREFIXES = ("::ffff:0:0", "::", "64:ff9b::", "64:ff9b:1::", "2002::")


@given(st.one_of(V4, V6))
def test_what_python_knows_as_not_public_is_never_dialled(address: IPv4Address | IPv6Address) -> None:
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert not classify(address).allowed


@given(V4)
def test_no_ipv4_address_is_reached_in_ipv6_clothes(address: IPv4Address) -> None:
    inside = [int(IPv6Address(prefix)) | int(address) for prefix in PREFIXES[:4]]
    inside.append(int(IPv6Address("2002::")) | (int(address) << 80))
    inside.append(int(IPv6Address("2001::")) | (int(address) ^ 0xFFFFFFFF))
    assert [str(one) for one in map(IPv6Address, inside) if classify(one).allowed] == []


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1", "10.0.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.100.100.200",
     "168.63.129.16", "0.0.0.0", "255.255.255.255", "224.0.0.1", "::1", "::", "fe80::1", "fd00:ec2::254",
     "ff02::1", "::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "fec0::1", "5f00::1"],
)  # fmt: skip
def test_the_places_that_attackers_want_are_refused(text: str) -> None:
    assert not classify(ip_address(text)).allowed


@pytest.mark.parametrize("text", ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "2a00:1450::1"])
def test_public_servers_are_reached(text: str) -> None:
    assert classify(ip_address(text)).allowed


def asked(text: str, *entries: str, host: str = "hooks.corp.example", port: int = 443) -> bool:
    return reach(ip_address(text), host=host, port=port, allowed=read_list(entries)).allowed


def test_a_listed_host_may_be_inside_the_house() -> None:
    assert asked("10.1.2.3", "hooks.corp.example") and not asked("10.1.2.3", "other.corp.example")


def test_a_listed_name_that_turns_to_the_clouds_credentials_is_refused() -> None:
    places = ("169.254.169.254", "fe80::1", "fd00:ec2::254", "100.100.100.200", "::ffff:10.0.0.1", "0.0.0.0")
    assert [text for text in places if asked(text, "hooks.corp.example")] == []


def test_a_listed_network_holds_for_its_addresses_alone() -> None:
    assert asked("10.1.2.3", "10.1.0.0/16") and not asked("10.2.0.1", "10.1.0.0/16")


def test_a_port_beside_the_usual_ones_must_be_listed() -> None:
    assert not asked("1.1.1.1", port=25) and not asked("10.1.2.3", "10.1.0.0/16", port=6379)
    assert asked("10.1.2.3", "10.1.2.3:6379", port=6379) and asked("fd00::1", "[fd00::1]:90", port=90)


def test_a_listed_port_opens_no_other_one() -> None:
    assert not asked("10.1.2.3", "hooks.corp.example:8443")


@pytest.mark.parametrize(
    "entry", ["*", "10.0.0.0/99", "a b", "127.1", "http://x", "host:99999", "[::1", "x/8", "::1:"]
)
def test_a_list_that_cannot_be_read_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="neither a host nor a network"):
        read_list([entry])


@given(st.text(max_size=40))
def test_any_text_is_a_host_or_not(text: str) -> None:
    if is_host(text):
        assert text.isascii() and text == text.lower() and parse(f"[{text}]") is None
