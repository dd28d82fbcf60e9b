"""A colleague's link may be opened as he wrote it; no other value of outsiders is worth as much."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import copying, records, rendition
from policies.calls import Call
from policies.passages import Passages
from policies.provenance import Source, trace

NAMED = Call("read", {"channel": "user"})
LINK = "https://news.example/a?b=C"
TALK = [
    {"sender": "Bob", "body": f"Read {LINK}!"},
    {"sender": "Eve", "body": "we met (see www.alpine.example.), bye"},
]


def channel(output: Any = TALK, *outside: str, call: Call | None = NAMED, origin: str = "trusted") -> Source:
    shown = rendition.render(output)
    return Source(
        "talk", origin, shown.text, who="read_channel", quoted=shown.of_fields(outside or ("body",)),
        fields=records.fields(shown.fields()), call=call,
    )  # fmt: skip


def opened(args: dict[str, Any], *sources: Source) -> set[str]:
    heard = sources or (channel(),)
    return set(copying.copied(args, trace(args, heard), copying.offered(heard)))


@pytest.mark.parametrize("url", [LINK, "www.alpine.example", "https://www.alpine.example"])
def test_a_link_in_a_message_may_be_copied(url: str) -> None:
    assert opened({"url": url}) == {"url"}


@pytest.mark.parametrize(
    "url",
    [
        LINK.lower(),
        LINK + "&c=123456",
        LINK[:-1],
        "https://news.example/a",
        "https://news.example",
        "www.alpine.example/123456",
        "https://123456.www.alpine.example",
        "ftp://www.alpine.example",
        "https://https://www.alpine.example",
        "Bob",
        "we met",
        "",
    ],
)
def test_what_differs_in_any_sign_is_no_copy(url: str) -> None:
    assert opened({"url": url}) == set()


@pytest.mark.parametrize(
    "call",
    [None, Call("read", {"channel": "agent"}), Call("read", {"channel": "untrusted"}), Call("write")],
)
def test_a_message_that_the_user_did_not_ask_for_offers_none(call: Call | None) -> None:
    assert opened({"url": LINK}, channel(call=call)) == set()


def test_a_page_offers_none() -> None:
    assert opened({"url": LINK}, channel(origin="untrusted")) == set()


def test_a_mail_whose_sender_is_only_claimed_offers_none() -> None:
    assert opened({"url": LINK}, channel(TALK, "body", "sender")) == set()


def test_a_sender_vouches_for_his_own_message_alone() -> None:
    notes = [{"sender": "Bob", "body": "Hello"}, {"body": f"Read {LINK}"}]
    assert opened({"url": LINK}, channel(notes)) == set()


@pytest.mark.parametrize(
    "inside",
    [
        "http://10.0.0.1/admin",
        "http://localhost/x",
        "http://router.lan/x",
        "http://db.internal/x",
        "http://shop.example:8080/x",
        "http://ada@shop.example/x",
        "http://[::1]/x",
        "http://2130706433/x",
    ],
)
def test_a_link_to_what_stands_inside_is_none(inside: str) -> None:
    assert opened({"url": inside}, channel([{"sender": "Bob", "body": f"see {inside}"}])) == set()


def test_nothing_else_may_ride_along() -> None:
    assert opened({"url": LINK, "headers": {"x-note": "4711 is the code"}}) == set()


def test_what_the_user_wrote_may_ride_along() -> None:
    user = Source("u", "user", "Get it in German please")
    assert opened({"url": LINK, "language": "German"}, channel(), user) == {"url"}


def test_a_list_to_choose_from_is_too_much_to_tell() -> None:
    letters = [
        {"sender": "Eve", "body": " ".join(f"https://eve.example/{sign}" for sign in "abcdefghijklmnopq")}
    ]
    assert opened({"url": "https://eve.example/a"}, channel(letters)) == set()
    assert opened({"url": LINK}, channel(), channel(letters)) == set()


@given(
    st.text(st.sampled_from("ab/.:?=1@ "), max_size=12), st.text(st.sampled_from("ab/.:?=1@ "), max_size=12)
)
def test_whatever_is_copied_stood_there(before: str, after: str) -> None:
    url = f"{before}{LINK}{after}"
    assert url == LINK or opened({"url": url}) == set()


spans = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 20)).filter(lambda span: span[0] != span[1]), max_size=5
)


@given(spans, st.integers(0, 20), st.integers(1, 5))
def test_a_passage_is_touched_where_any_of_its_signs_is_asked_for(
    found: list[tuple[int, int]], start: int, length: int
) -> None:
    signs = {at for span in found for at in range(min(span), max(span))}
    asked = set(range(start, start + length))
    assert Passages(found).touch(start, start + length) == bool(signs & asked)
