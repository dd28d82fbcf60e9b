"""What a session was opened for: which tools that covers, and who may say so."""

from __future__ import annotations

import time
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import purpose
from traces.problems import Refused

NAMES = st.text("ab.", min_size=1, max_size=6)
GLOBS = st.text("ab.*?", min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("opened_for", "tool", "covered"),
    [
        ((), "mail.send", True),
        (("mail.send",), "mail.send", True),
        (("mail.*", "notes.read"), "mail.send", True),
        (("mail.?end",), "mail.send", True),
        (("notes.*",), "mail.send", False),
        (("mail",), "mail.send", False),
        (("Mail.*",), "mail.send", False),
        (("m.*",), "mail.send", False),
    ],
)
def test_a_session_covers_what_it_names(opened_for: tuple[str, ...], tool: str, covered: bool) -> None:
    assert purpose.covers(opened_for, tool, declared=True) is covered


def test_no_pattern_covers_what_nobody_declared() -> None:
    named = [purpose.covers(tools, "who.knows", declared=False) for tools in (("*",), ("who.knows",), ())]
    assert named == [False, True, True]


@given(GLOBS, NAMES)
def test_a_pattern_fits_as_everywhere_else(glob: str, name: str) -> None:
    assert purpose.covers((glob,), name, declared=True) is fnmatchcase(name, glob)


@given(GLOBS, GLOBS, NAMES)
def test_what_lies_within_covers_nothing_more(above: str, wanted: str, name: str) -> None:
    try:
        named = purpose.narrowed((above,), (wanted,))
    except Refused:
        return
    assert not purpose.covers(named, name, declared=True) or purpose.covers((above,), name, declared=True)


def test_below_a_session_that_names_tools_one_without_is_for_the_same() -> None:
    assert purpose.narrowed(("notes.*",), ()) == ("notes.*",)
    assert purpose.narrowed((), ("mail.send",)) == ("mail.send",)


@pytest.mark.parametrize("wanted", ["mail.send", "*", "notes*", "n?tes.read", "notes.rea*d?"])
def test_below_it_nothing_else_can_be_named(wanted: str) -> None:
    with pytest.raises(Refused) as refused:
        purpose.narrowed(("notes.read",), ("notes.read", wanted))
    assert refused.value.code == "forbidden" and wanted in refused.value.detail


@pytest.mark.parametrize(
    "tools", [[], ["a b"], [""], ["a\n"], ["x" * 101], ["ä"], [f"t{n}" for n in range(101)]]
)
def test_what_names_no_tool_is_refused(tools: list[str]) -> None:
    with pytest.raises(Refused) as refused:
        purpose.needed(tools)
    assert refused.value.code == "invalid"


def test_a_pattern_made_to_be_slow_is_not() -> None:
    began = time.perf_counter()
    assert not purpose.covers(("*a" * 49 + "*b",), "a" * 100, declared=True)
    assert time.perf_counter() - began < 0.1
