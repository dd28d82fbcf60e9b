"""What a text plays on eyes, and above all: what it does not."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import lookalikes

KNOWN = lookalikes.known(["acme.example", "münchen.example", "paypal.com"], ["microsoft.com"])


def said(text: str) -> list[str]:
    return [trick.said for trick in lookalikes.tricks(text, KNOWN)]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("bob@acrne.example", "looks like acme.example"),
        ("see http://paypa1.com/login", "looks like paypal.com"),
        ("PAYPAI.COM", "looks like paypal.com"),
        ("\u0430cme.example", "looks like acme.example"),
        ("mail.\u0430\u0441\u043c\u0435.example", "looks like acme.example"),
        ("xn--cme-5cd.example", "looks like acme.example"),
        ("rnicrosoft.com", "looks like microsoft.com"),
        ("acme.example.evil.example", "belongs to evil.example"),
        ("https://acme.example@evil.example/", "before the @"),
        ("p\u0430ypal", "mixes Latin with Cyrillic"),
        ("in\u202evoice.exe", "turns the direction"),
        ("x\u2066y\u2069", "turns the direction"),
        ("pay\u200bpal", "1 invisible character"),
        ("ok\U000e0068\U000e0069", "which spell “hi”"),
    ],
)
def test_a_trick_is_told(text: str, word: str) -> None:
    assert any(word in each for each in said(text)), said(text)


@pytest.mark.parametrize(
    "text",
    [
        "bob@acme.example", "mail.acme.example", "https://acme.example/a@b.example?x=acme.example",
        "other.example", "README.md and report.final.pdf", "münchen.example", "xn--mnchen-3ya.example",
        "Москва, IT-отдел, USB-кабель", "Ünïcode naïve Straße", "東京タワーABC", "서울 Seoul한글",
        "Ωm, µm, Δt, αβγ",
        "👩‍💻 ❤️ fine", "microsoft.com", "שלום עולם", "مرحبا", "a", "", "😀😀", "x@y", "1.500,00 €", "e.g. this. And.that",  # noqa: E501
    ],
)  # fmt: skip
def test_what_people_write_is_no_trick(text: str) -> None:
    assert said(text) == []


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=60))
def test_plain_ascii_is_never_marked_where_nothing_is_known(text: str) -> None:
    assert [t for t in lookalikes.tricks(text) if "before the @" not in t.said] == []


@given(st.text(alphabet="абвгдежзиклмнопрстуфхцчшщъыьэюя -.", max_size=60))
def test_a_single_script_is_never_marked_where_nothing_is_known(text: str) -> None:
    assert lookalikes.tricks(text) == ()


@given(st.text(max_size=200))
def test_marks_lie_in_the_text_and_nothing_raises(text: str) -> None:
    assert all(0 <= t.start < t.end <= len(text) for t in lookalikes.tricks(text, KNOWN))


def test_a_domain_that_the_agent_dealt_with_does_not_vouch_for_a_likeness_of_ours() -> None:
    known = lookalikes.known(["acme.example"], ["acrne.example"])
    assert "looks like" in lookalikes.tricks("a@acrne.example", known)[0].said


def test_the_unicode_form_stands_beside_punycode() -> None:
    assert "(xn--cme-5cd.example)" in said("\u0430cme.example")[-1]


@pytest.mark.parametrize(
    "unit", ["a.", "a-", "а", "https://", "@", "xn--a.", "a@b.c ", "\u202e", "\u200b", "пaп "]
)
def test_a_hostile_megabyte_is_quick(unit: str) -> None:
    text = (unit * 1_000_000)[:1_000_000]
    start = time.process_time()
    lookalikes.tricks(text, KNOWN)
    assert time.process_time() - start < 1.5


def test_an_endless_name_before_no_at_is_quick() -> None:
    start = time.process_time()
    assert not any("before the @" in each for each in said("https://" + "a." * 50_000 + "/@"))
    assert time.process_time() - start < 1.0


def test_one_endless_word_is_not_kept_in_memory() -> None:
    lookalikes.tricks("\u0430" * 90_000 + "a", KNOWN)
    assert all("\u0430" * 200 not in each for each in said("\u0430" * 90_000 + "a"))


def test_what_was_not_looked_at_is_told() -> None:
    assert "beyond character 100,000" in said("x" * 100_001)[-1]
