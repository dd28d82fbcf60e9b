"""Two spellings of one address must not get two answers; what reads in two ways gets none."""

from __future__ import annotations

import pytest

from policies.functions import domain, host, in_cidr, linked, recipients


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("Ada@Example.COM", "example.com"),
        ("Ada Lovelace <ada@example.com>", "example.com"),
        ("ada@example.com.", "example.com"),
        ("ada@münchen.example", "xn--mnchen-3ya.example"),
    ],
)
def test_the_domain_of_an_address(address: str, expected: str) -> None:
    assert domain(address) == expected


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ada",
        "a@b@c",
        "a@good.example, b@evil.example",
        "a@good.example>",
        "<a@good.example",
        "a@b\nBcc: c@d",
        "a@x/y",
    ],
)
def test_no_single_address_is_an_error(address: str) -> None:
    with pytest.raises(ValueError, match="address"):
        domain(address)


def test_the_host_behind_user_names_and_ports() -> None:
    assert host("https://good.example@EVIL.example:8443/x") == "evil.example"
    assert host("http://[::1]:80/") == "::1"


@pytest.mark.parametrize(
    "url", ["evil.example", "//evil.example", "http://evil.example\\@good.example", "http://a b", ""]
)
def test_a_url_that_clients_disagree_on_is_an_error(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        host(url)


def test_addresses_in_networks() -> None:
    assert in_cidr("10.1.2.3", "10.0.0.0/8")
    assert in_cidr("::ffff:10.1.2.3", "10.0.0.0/8")
    assert not in_cidr("fe80::1", "10.0.0.0/8")
    with pytest.raises(ValueError, match="not appear to be"):
        in_cidr("0x7f.1", "127.0.0.0/8")


def test_recipients_counts_every_field_and_every_spelling() -> None:
    assert (
        recipients({"to": "a@x; b@x, c@x d@x", "cc": ["e@x", {"mail": "f@x"}, "g@x,h@x"], "bcc": None}) == 8
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("see https://evil.example", True),
        ("HTTP://evil.example", True),
        ("see www.evil.example", True),
        ("ftp://evil.example", True),
        ("[here](//evil.example/x)", True),
        ("ｈｔｔｐｓ：／／evil.example", True),
        ("ht\u200btps:/\u200b/evil.example", True),
        (["a", {"text": ["https://evil.example"]}], True),
        ({"https://evil.example": 1}, True),
        ("lunch at 12, and/or dinner", False),
        ([1, None, {"a": ["b"]}], False),
        (5, False),
    ],
)
def test_whether_a_link_stands_in_a_value(value: object, expected: bool) -> None:
    assert linked(value) is expected
