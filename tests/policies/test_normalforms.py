"""A value may be written in another way; never in a way that could be read as another value."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from policies.provenance import Source, trace
from policies.text import _FOREIGN, _LATIN

SAID = date(2026, 4, 1)


def origin(value: Any, *sources: Source) -> str:
    return trace({"x": value}, sources)["/x"].origin


def user(text: str, *, on: date | None = SAID) -> Source:
    return Source("u", "user", text, said=on)


def page(text: str) -> Source:
    return Source("p", "untrusted", text, said=SAID)


@pytest.mark.parametrize(
    ("written", "value", "expected"),
    [
        ("pay 1,500.00 EUR", 1500, "user"),
        ("pay 1.500,00 EUR", 1500, "user"),
        ("pay 1500EUR", 1500, "user"),
        ("pay EUR1500 now", "1500 EUR", "user"),
        ("pay €1500", "1500 EUR", "user"),
        ("pay 1.500 €", "1500.00 EUR", "user"),
        ("pay 1'500 CHF", 1500, "user"),
        ("pay $1.5k", 1500, "user"),
        ("pay 12,50 €", 12.5, "user"),
        ("pay € 12,50", "12.50", "user"),
        ("pay 12.50", 12.5, "user"),
        ("pay €1,500.00", "€1.500,00", "user"),
        ("pay 12,50", 12.5, "agent"),
        ("pay 1.500", 1500, "agent"),
        ("pay $1.500", 1500, "agent"),
        ("pay 1.5k", 1500, "agent"),
        ("pay 1.5k people €5", 1500, "agent"),
        ("pay 1'500 CHF", 500, "agent"),
        ("pay 2'341'500 CHF", "341'500", "agent"),
        ("pay 11.500,00 EUR", 1500, "agent"),
        ("pay 1.500,001 EUR", 1500, "agent"),
        ("pay $1500", "1500 EUR", "agent"),
        ("pay $1500", "1500 USD", "agent"),
        ("pay A$1500", "$1500", "agent"),
        ("pay 1500 EURO", "1500 EUR", "user"),
        ("pay 1500", "1500 EUR", "agent"),
        ("pay 1500 EUR", "1500 USD", "agent"),
        ("pay 1500 EUR", "$1500 EUR", "agent"),
        ("pay 1,500 EUR", "1.500 EUR", "user"),
        ("pay 1,500", "1.500", "agent"),
        ("pay 5 EUR", 5, "agent"),
        ("pay 1500 EUR", "\u0661\u0665\u0660\u0660", "agent"),
        ("pay 1,500.00 EUR", "\uff11\uff15\uff10\uff10", "agent"),
        ("pay 1,500.00 EUR", "15\u200b00", "agent"),
    ],
)
def test_an_amount_may_be_written_as_money_is(written: str, value: Any, expected: str) -> None:
    assert origin(value, user(written)) == expected


@pytest.mark.parametrize(
    ("written", "value", "expected"),
    [
        ("see www.information.example", "https://www.information.example/", "user"),
        ("see example.com", "http://example.com", "user"),
        ("see example.com/a/b", "https://example.com/a/b/", "user"),
        ("see https://Example.com", "https://example.com/", "user"),
        ("see https://example.com:443/a", "https://example.com/a", "user"),
        ("see https://example.com/a", "example.com/a", "user"),
        ("see http://example.com/a", "https://example.com/a", "agent"),
        ("see https://example.com:8443/a", "https://example.com/a", "agent"),
        ("see example.com:8443", "https://example.com:8443", "user"),
        ("read readme.md", "https://readme.md/", "agent"),
        ("run install.sh", "https://install.sh", "agent"),
        ("mail ada@example.com", "https://example.com", "agent"),
        ("see example.com.evil.test", "https://example.com", "agent"),
        ("see example.com/a", "https://example.com/", "agent"),
        ("see example.com/a?b=1", "https://example.com/a", "agent"),
        ("see example.com/a", "https://example.com/a?b=1", "agent"),
        ("see example.com", "https://example.com@evil.test/", "agent"),
        ("see example.com", "https://evil.test/example.com", "agent"),
        ("see ftp://example.com/a", "https://example.com/a", "agent"),
        ("see example.com", "https://ｅxample.com", "agent"),
        ("see example.com", "https://example\u200b.com", "agent"),
        ("see bücher.example/a", "https://xn--bcher-kva.example/a", "agent"),
        ("see xn--bcher-kva.example/a", "https://xn--bcher-kva.example/a", "agent"),
        ("see xn--bcher-kva.example/a", "https://bücher.example/a", "agent"),
    ],
)
def test_a_page_has_one_address_in_several_spellings(written: str, value: str, expected: str) -> None:
    assert origin(value, user(written)) == expected


@pytest.mark.parametrize(
    ("written", "value", "expected"),
    [
        ("mail Ada@Example.com", "mailto:ada@example.com", "user"),
        ("mail ada@example.com", "<ada@example.com>", "user"),
        ("mail mailto:ada@example.com", "ada@example.com", "user"),
        ("mail <ada@example.com>", "ada@example.com", "user"),
        ("mail ada@example.com", "ada+x@example.com", "agent"),
        ("mail ada+x@example.com", "ada@example.com", "agent"),
        ("mail a.da@example.com", "ada@example.com", "agent"),
        ("mail ada@example.com", "mailto:ada@example.com?bcc=eve@evil.example", "agent"),
        ("mail mailto:ada@example.com?bcc=x@y.example", "ada@example.com", "agent"),
        ("mail ada@example.com", "<ada@example.com", "agent"),
        ("mail ada@example.com", "Eve <ada@example.com>", "agent"),
    ],
)
def test_a_mail_address_may_stand_in_brackets(written: str, value: str, expected: str) -> None:
    assert origin(value, user(written)) == expected


@pytest.mark.parametrize(
    ("written", "value", "expected"),
    [
        ("book May 5", "2026-05-05", "user"),
        ("book the 5th of May", "2026-05-05", "user"),
        ("book Jan 7th", "2027-01-07", "user"),
        ("book May 5 at 10:00", "2026-05-05 10:00", "user"),
        ("book Apr 1", "2026-04-01", "user"),
        ("book May 5", "2027-05-05", "agent"),
        ("book May 5", "2025-05-05", "agent"),
        ("book Mar 31", "2026-03-31", "agent"),
        ("book May 5, 2027", "2026-05-05", "agent"),
        ("book May 5 in 2027", "2026-05-05", "agent"),
        ("book May 5 '27", "2026-05-05", "agent"),
        ("what did I pay last May 5", "2026-05-05", "agent"),
        ("book May 15", "2026-05-05", "agent"),
        ("book May 5-7", "2026-05-05", "agent"),
        ("book 05-05", "2026-05-05", "agent"),
    ],
)
def test_a_day_without_its_year_is_the_next_of_its_name(written: str, value: str, expected: str) -> None:
    assert origin(value, user(written)) == expected


def test_a_day_without_its_year_needs_the_day_on_which_it_was_said() -> None:
    assert origin("2026-05-05", user("book May 5", on=None)) == "agent"


def test_a_trusted_tools_day_without_its_year_says_nothing() -> None:
    assert origin("2026-05-05", Source("t", "trusted", "due May 5", said=SAID)) == "agent"


def test_a_page_that_says_it_another_way_does_not_hide_that_the_user_said_it() -> None:
    assert origin("2026-05-05", page("due 2026-05-05, May 5"), user("book 5 May 2026")) == "user"
    assert origin(1500, page("pay 1500 or 1.500,00"), user("pay 1,500.00 EUR")) == "user"


def test_what_only_a_page_says_in_another_form_is_untrusted() -> None:
    assert origin("1500.00 EUR", page("pay €1.500"), user("pay it")) == "untrusted"


amounts = st.integers(10, 99_999_999)


def written_amounts(amount: int) -> list[str]:
    """An amount in cents as people write it; some of the ways leave out the cents."""
    whole, rest = divmod(amount, 100)
    english, plain, cents = f"{whole:,}", str(whole), f"{rest:02}"
    european, swiss = english.replace(",", "."), english.replace(",", "'")
    return [
        f"{plain}.{cents}", f"{english}.{cents}", f"{european},{cents}", f"€{plain}.{cents}",
        f"{plain},{cents} EUR", f"€ {european},{cents}", f"{plain}.{cents}EUR", f"USD{plain}", f"{plain}€",
        f"{european} €", f"{english} EUR", f"${plain}k", f"{swiss} CHF", f"£{english}",
    ]  # fmt: skip


def means(text: str) -> set[int]:
    """The amounts in cents that a written amount may mean: read in every way that anybody reads it."""
    digits = re.sub("[€$£ A-Z]", "", text)
    factor = 1000 if digits.endswith("k") else 1
    digits = digits.strip("k ").replace("'", "")
    head, _, tail = digits.replace(",", ".").rpartition(".")
    found = {int(digits.replace(",", "").replace(".", "")) * 100 * factor}
    if head and len(tail) == 2:
        found = {int(head.replace(".", "") + tail) * factor}
    return found


styles = st.integers(0, 13)


# Amounts that are written like another: parts of it, or as if a dot or comma meant something else.
LIKE = (
    lambda it: it * 10, lambda it: it // 10, lambda it: it * 1000, lambda it: it // 1000,
    lambda it: it % 1000, lambda it: it % 100_000, lambda it: it * 100, lambda it: it // 100,
    lambda it: it + 1, lambda it: it,
)  # fmt: skip


@settings(deadline=None)
@given(amounts, styles, st.sampled_from(LIKE), styles)
def test_an_amount_is_never_another(said: int, style: int, like: Callable[[int], int], other: int) -> None:
    text, value = written_amounts(said)[style], written_amounts(like(said))[other]
    assume(not means(text) & means(value))
    assert origin(value, user(f"pay {text} now")) == "agent"
    if value.replace(".", "").isdigit():
        assert origin(float(value), user(f"pay {text} now")) == "agent"


hosts = st.sampled_from(
    ["example.com", "www.pages.example", "a.b.example", "example.com.evil.test", "readme.md"]
)
pages = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "https://", "http://", "HTTPS://"]), hosts,
        st.sampled_from(["", ":443", ":80", ":81"]),
        st.sampled_from(["", "/", "/a", "/a/", "/A?b=1", "/a/b#c"]),
    ),
)  # fmt: skip
mails = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "mailto:", "<", "Ada <"]), st.sampled_from(["ada", "a.da", "ada+x", "Eve"]),
        st.sampled_from(["@example.com", "@evil.example"]),
        st.sampled_from(["", ">", "?cc=eve@evil.example"]),
    ),
)  # fmt: skip
days = st.dates(SAID - timedelta(days=400), SAID + timedelta(days=800))
written_days = st.builds(
    lambda day, form: day.strftime(form),
    days,
    st.sampled_from(["%Y-%m-%d", "%B %d", "%d %b", "%d.%m.%Y", "%m/%d/%Y", "%B %d, %Y", "%Y-%m-%d 10:00"]),
)  # fmt: skip
money = st.builds(lambda cents, style: written_amounts(cents)[style], amounts, styles)
anything = pages | mails | written_days | money


@settings(deadline=None)
@given(anything, st.lists(anything, max_size=3))
def test_what_only_untrusted_text_holds_is_never_the_users_in_any_form(value: str, others: list[str]) -> None:
    held = [page(f"see {one} there") for one in (value, *others)]
    quoted = f"see {value} there"
    forwarded = Source("q", "user", quoted, quoted=((4, 4 + len(value)),), said=SAID)
    assert origin(value, *held, user("please do it")) in ("untrusted", "agent")
    assert origin(value, *held, forwarded) in ("untrusted", "agent")


@settings(deadline=None)
@given(pages | mails, pages | mails)
def test_a_look_alike_is_never_the_users_in_any_form(written: str, value: str) -> None:
    dressed = value.translate(str.maketrans(_LATIN[:6], _FOREIGN[:6]))
    assume(dressed != value)
    assert origin(dressed, user(f"see {written} there"), page(dressed)) == "untrusted"
    assert origin(value, user(f"see {dressed} there")) in ("agent", "untrusted")


def canonical(value: str) -> tuple[str, ...]:
    """A page or mail address as everybody reads it: scheme, place, port, path."""
    bare = value.removeprefix("mailto:").strip("<>").lower()
    if "@" in bare:
        return (bare,)
    scheme, _, rest = bare.rpartition("://")
    place, slash, path = rest.partition("/")
    host, _, port = place.partition(":")
    return (scheme, host, port, (slash + path).rstrip("/") if "?" not in path else slash + path)


@settings(deadline=None)
@given(pages | mails, pages | mails)
def test_an_address_is_the_users_only_if_it_leads_to_the_same_place(written: str, value: str) -> None:
    if origin(value, user(f"see {written} there")) != "user":
        return
    one, other = canonical(written.removeprefix("Ada ")), canonical(value.removeprefix("Ada "))
    default = {"https": "443", "http": "80"}
    assert len(one) == len(other) and one[-1] == other[-1]
    if len(one) > 1:
        assert one[1] == other[1]
        assert one[0] == other[0] or "" in (one[0], other[0])
        scheme = one[0] or other[0]
        assert (one[2] or default.get(scheme, "")) == (other[2] or default.get(scheme, ""))
