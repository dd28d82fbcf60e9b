"""YAML that two readers could read differently is refused; what is written is read back as it was."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from policies import yamldump, yamlfile
from policies.yamlfile import YamlRefused

TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
WORDS = st.sampled_from(
    [
        "yes",
        "no",
        "on",
        "null",
        "~",
        "1",
        "0x1F",
        "017",
        "1_0",
        "1:30",
        "1e3",
        "-",
        ".5",
        "<<",
        "=",
        "2030-01-01",
    ]
)
NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e15, 1e15).filter(
    lambda number: number != int(number)
)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS | WORDS
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS | WORDS, inner, max_size=4),
    max_leaves=12,
)


def read(text: str) -> Any:
    return yamlfile.unfold(yamlfile.load(text))


def refused(text: str) -> str:
    with pytest.raises(YamlRefused) as caught:
        read(text)
    return str(caught.value)


@given(VALUES)
@example({"a": "\u202e", "b": "\ufeff", "c": "\x85\u2028", "d": " x ", "e": "a\n\n b\n", "f": "\t"})
@example({"<<": {"no": "no"}, "": "", "k" * 2000: "v"})
def test_what_is_written_is_read_back(value: Any) -> None:
    assert read(yamldump.write(value)) == value


@given(st.text(max_size=60) | st.text("[]{}:,-&*!|>'\"%@`#? \n\tab01", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read(text)
    except YamlRefused as refusal:
        assert refusal.why


@pytest.mark.parametrize(
    "word",
    [
        "yes",
        "No",
        "ON",
        "off",
        "~",
        "Null",
        "TRUE",
        "False",
        "0777",
        "0o17",
        "0x1F",
        "0b1",
        "1_000",
        "+5",
        "1:30",
        "190:20:30",
        ".5",
        "5.",
        ".inf",
        "-.INF",
        ".nan",
        "=",
    ],
)
def test_a_word_that_yaml_versions_read_differently_has_to_be_quoted(word: str) -> None:
    assert refused(f"a: 1\nb: {word}").startswith("line 2: ")
    assert read(f"b: '{word}'") == {"b": word}


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("true", True),
        ("null", None),
        ("-12", -12),
        ("1.5", 1.5),
        ("1e3", 1000),
        ("1.0", 1),
        ("2030-01-01", "2030-01-01"),
        ("a b", "a b"),
        ("y", "y"),
        ("1.2.3", "1.2.3"),
    ],
)
def test_plain_words_are_json_or_text(word: str, value: Any) -> None:
    found = read(f"a: {word}")["a"]
    assert (found, type(found)) == (value, type(value))


def test_keys_are_texts_whatever_they_look_like() -> None:
    assert read("on: 1\nno: 2\n1: 3\nnull: 4") == {"on": 1, "no": 2, "1": 3, "null": 4}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: the key 'a' stands twice (first on line 1)"),
        ("a: {b: 1,\n  'b': 2}", "line 2: the key 'b' stands twice (first on line 1)"),
        ("a: !!python/object/apply:os.system [id]", "line 1: tags (!) are not taken"),
        ("a: !x 1", "line 1: tags (!) are not taken"),
        ("a: &a [1, *a]", "line 1: the alias *a stands within what it names, or names nothing"),
        ("a: *b", "line 1: the alias *b stands within what it names, or names nothing"),
        ("a: 1\n---\nb: 2", "line 2: holds more than one document"),
        ("base: &b {x: 1}\nc:\n  <<: *b", "line 3: merge keys (<<) are not taken"),
        ("? [a]\n: 1", "line 1: a key is a word, not a list or a mapping"),
        ("a: 9007199254740993", "line 1: is a number beyond ±(2^53−1)"),
        ("a: 1e999", "line 1: is a number beyond ±(2^53−1)"),
        ("a: " + "9" * 5000, "line 1: is a number beyond ±(2^53−1)"),
        (
            "a: 1\nb: x\u202ey",
            'line 2: holds the invisible character U+202E: write it as an escape within ""',
        ),
        ("a:", 'line 1: is empty: write null or ""'),
        ("", "the file is empty"),
        ("# nothing", "the file is empty"),
        (
            "approvers: @user",
            "line 1: found character that cannot start any token; quote a text that begins with @ or `",
        ),
        ("a: [1\nb: 2", "line 2: did not find expected ',' or ']'"),
        ("[" * 100_000, "line 1: is nested more than 64 levels deep"),
        ("- " * 100_000, "line 1: is nested more than 64 levels deep"),
        ("a: \ud800", "line 1: is not valid Unicode"),
    ],
)
def test_a_trap_is_refused_with_its_line(text: str, why: str) -> None:
    assert refused(text) == why


def test_aliases_are_taken() -> None:
    assert read("a: &x [1]\nb: *x") == {"a": [1], "b": [1]}


def test_a_bomb_of_aliases_is_refused_before_it_unfolds() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]"
        for old, new in zip("abcdefghij", "bcdefghijk", strict=True)
    ]
    assert "unfolds to more than" in refused("\n".join(lines))


def test_a_file_that_is_too_large_is_refused() -> None:
    assert "larger than 4 MiB" in refused("a" * (4 * 1024 * 1024 + 1))
