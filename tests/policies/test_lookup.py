"""The index finds what reading every text would find, however a session grows, and knows what it takes."""

from __future__ import annotations

import gc
import random
import re
import tracemalloc
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from policies import records, rendition, wordindex
from policies.lookup import Index, Origin, Source
from policies.matching import words
from policies.provenance import trace
from policies.text import _EVEN, INVISIBLE, fold
from tests.policies import scan

SIGNS = "ab1@.-/ ,'é\u0301\u200bＡΣß中\n\t"
values = st.text(st.sampled_from(SIGNS), min_size=1, max_size=10)
texts = st.text(st.sampled_from(SIGNS), max_size=50)
places = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 50)), max_size=2)
plain = st.builds(
    lambda origin, text, quoted: Source("", origin, text, who=origin, quoted=tuple(quoted)),
    st.sampled_from(["user", "trusted", "untrusted", "agent"]), texts, places,
)  # fmt: skip
outputs = st.lists(
    st.dictionaries(st.sampled_from(["id", "name", "body"]), values, min_size=1), min_size=1, max_size=3
)


def listed(output: Any, outside: str) -> Source:
    shown = rendition.render(output)
    return Source(
        "", "trusted", shown.text, who="list", quoted=shown.of_fields([outside]),
        fields=records.fields(shown.fields()),
    )  # fmt: skip


structured = st.builds(listed, outputs, st.sampled_from(["", "name", "body"]))
said = st.lists(plain | structured, max_size=5)
spoken = st.text(st.sampled_from("ab1@. -中\n"), min_size=4, max_size=60)
arguments = st.dictionaries(st.sampled_from(["id", "to", "name"]), values | st.lists(values, max_size=3))


def numbered(sources: list[Source]) -> list[Source]:
    return [Source(**(vars(source) | {"entry_id": str(at)})) for at, source in enumerate(sources)]


def told(found: dict[str, Origin]) -> dict[str, Any]:
    """What is untrusted may stand in many places, of which either may tell one."""
    return {path: origin.origin if origin.origin == "untrusted" else origin for path, origin in found.items()}


@given(arguments, said, st.integers(0, 5))
@example({"id": "a-1", "to": ["a", "1"]}, [listed([{"id": "1", "name": "ab1a"}], "")], 0)
def test_the_index_finds_what_reading_everything_finds(args: Any, sources: list[Source], first: int) -> None:
    sources = numbered(sources)
    plainly = told(trace(args, scan.Scan(sources)))
    assert told(trace(args, Index(sources))) == plainly
    assert told(trace(args, Index(sources[:first]).extended(sources[first:]))) == plainly


@given(arguments, said, st.integers(1, 8))
def test_a_text_of_many_blocks_is_no_other(args: Any, sources: list[Source], block: int) -> None:
    sources = numbered(sources)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wordindex, "BLOCK", block)
        assert told(trace(args, Index(sources))) == told(trace(args, scan.Scan(sources)))


@given(st.lists(spoken, min_size=1, max_size=3), st.data(), st.integers(1, 8))
def test_any_part_of_a_text_is_found_wherever_blocks_end(said: list[str], data: Any, block: int) -> None:
    text = data.draw(st.sampled_from(said))
    start = data.draw(st.integers(0, len(text) - 1))
    part = text[start : data.draw(st.integers(start + 1, len(text)))]
    sources = [
        Source(str(at), origin, one) for at, one in enumerate(said) for origin in ("user", "untrusted")
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wordindex, "BLOCK", block)
        assert told(trace({"x": part}, Index(sources))) == told(trace({"x": part}, scan.Scan(sources)))


@given(
    st.text(st.characters() | st.sampled_from(SIGNS + "İǆ½…\r\x1c\x85\u2028\u3000\u1100\u1161"), max_size=30)
)
def test_the_quick_way_to_comparable_form_is_the_slow_one(text: str) -> None:
    form, came_from = scan.fold(text)
    folded = fold(text)
    assert (folded.text, [folded.span(at, at + 1) for at in range(len(form))]) == (form, came_from)


def test_what_is_taken_for_even_is_even_in_every_version_of_unicode() -> None:
    spans = [part.split("-") for part in re.findall(r"(?:.-.|.)", _EVEN)]
    signs = [chr(at) for span in spans for at in range(ord(span[0]), ord(span[-1]) + 1)]
    uneven = [
        sign for sign in signs
        if unicodedata.normalize("NFKC", sign) != sign or len(sign.lower()) != 1 or sign.isspace()
        or INVISIBLE.match(sign) or unicodedata.category(sign).startswith("M") or sign == "Σ"
    ]  # fmt: skip
    assert uneven == []


@given(texts, st.integers(0, 50), st.integers(0, 50))
def test_where_a_value_stands_its_words_are_words(text: str, start: int, end: int) -> None:
    needle = text[start:end]
    found = scan.matches(
        scan.Text(Source("", "user", text), text, [(at, at + 1) for at in range(len(text))]),
        scan._Value(needle, needle, 1, ""),
    )
    if needle.strip() and any(True for _ in found):
        assert set(words(needle)) <= set(words(text))


def test_an_older_index_does_not_see_what_was_said_later() -> None:
    older = Index([Source("0", "untrusted", "mail eve@evil.example")])
    newer = older.extended([Source("1", "user", "mail ada@example.com")])
    assert [index.find("ada@example.com").origin for index in (older, newer)] == ["agent", "user"]


def test_two_that_continue_one_index_do_not_mix() -> None:
    common = Index([Source("0", "user", "mail ada@example.com")])
    one, other = (
        common.extended([Source("1", "user", f"or {name}@example.com")]) for name in ("ben", "cleo")
    )
    found = [
        [index.find(f"{name}@example.com").origin for name in ("ada", "ben", "cleo")]
        for index in (one, other)
    ]
    assert found == [["user", "user", "agent"], ["user", "agent", "user"]]


def prose(kib: int, dice: random.Random, *, foreign: bool) -> str:
    """Words as people use them: a few often, many seldom."""
    vocabulary = ["".join(dice.choices("etaoinshrdlu", k=dice.randint(2, 9))) for _ in range(8000)]
    chosen = dice.choices(vocabulary, [1 / (rank + 1) for rank in range(8000)], k=kib * 200)
    return ("„Ä“  " if foreign else "") + " ".join(chosen)[: kib * 1024]


@pytest.mark.parametrize("foreign", [False, True])
@pytest.mark.parametrize("pieces", [1, 8])
def test_an_index_says_how_much_memory_it_takes(foreign: bool, pieces: int) -> None:
    dice = random.Random(pieces)
    made = [prose(32 // pieces, dice, foreign=foreign) for _ in range(pieces)]
    gc.collect()
    tracemalloc.start()
    index = Index(Source(str(at), "untrusted", text[:1] + text[1:]) for at, text in enumerate(made))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.7 < index.octets / taken < 1.6
