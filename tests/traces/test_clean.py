"""Foreign markup shows nothing that runs, loads or hides."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces import clean


@pytest.mark.parametrize(
    ("html", "shown"),
    [
        ("<p>a <b>b</b></p>", "<p>a <b>b</b></p>"),
        ("<script>alert(1)</script>", "alert(1)"),
        ("<img src=x onerror=alert(1)>", ""),
        ('<a href="javascript:alert(1)">x</a>', '<a rel="noopener noreferrer">x</a>'),
        ('<p onclick="x()" style="color:red">a</p>', "<p>a</p>"),
        ("<svg><style><img src=x onerror=alert(1)>", ""),
        ("a < b & c", "a &lt; b &amp; c"),
    ],
)
def test_only_harmless_markup_remains(html: str, shown: str) -> None:
    assert clean.clean(html) == shown


def test_a_link_keeps_its_address() -> None:
    assert 'href="https://example.com/"' in clean.clean('<a href="https://example.com/">x</a>')


def test_the_words_of_a_page_are_text() -> None:
    assert clean.plain("<p>Tom &amp; <b>Jerry</b> &lt;3</p>") == "Tom & Jerry <3"


@given(st.text(alphabet=st.characters(), max_size=200))
def test_whatever_comes_in_can_be_stored(text: str) -> None:
    stored = clean.storable(text)
    assert "\x00" not in stored and stored.encode().decode() == stored


@given(st.text(max_size=200))
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert clean.clean(clean.clean(text)) == clean.clean(text)
