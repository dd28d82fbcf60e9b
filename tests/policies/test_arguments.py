"""An agent sends arguments: what reads in two ways is refused, what is accepted is bound by digest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.arguments import (
    ArgumentsRefused,
    action_digest,
    call_digest,
    canonical,
    check,
    check_schema,
    files_in,
    normalise,
    parse_json,
)

MAIL = {
    "type": "object",
    "properties": {
        "to": {"type": "array", "items": {"type": "string", "pattern": "@"}},
        "who": {"$ref": "#/$defs/person"},
    },
    "required": ["to"],
    "$defs": {"person": {"type": "object", "properties": {"name": {"type": "string"}}}},
}
SAFE = (1 << 53) - 1
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-SAFE, SAFE)
    | st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
)
keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b'{"to": 1, "to": 2}', "stands twice"),
        (b'{"a": {"b": 1, "\\u0062": 2}}', "stands twice"),
        (b"NaN", "NaN is not JSON"),
        (b"[-Infinity]", "not JSON"),
        (b"1e999", "too large"),
        (b"9007199254740992", "beyond"),
        (b"-9007199254740992", "beyond"),
        (b"1e300", "beyond"),
        (b"1" * 100_000, "beyond"),
        (b'"\\ud800"', "surrogate"),
        (b'{"\\udfff": 1}', "surrogate"),
        (b'"\xff"', "UTF-8"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b"{} {}", "not valid JSON"),
        (b"", "not valid JSON"),
        (b"[" * 100_000, "levels deep"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "levels deep"),
        (b'"' + b"x" * (1 << 20) + b'"', "bytes of JSON"),
    ],
)
def test_an_ambiguous_body_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(ArgumentsRefused, match=why):
        parse_json(raw)


def test_brackets_inside_a_text_are_no_nesting() -> None:
    assert parse_json(b'"' + b"[" * 1000 + b'\\"["') == "[" * 1000 + '"['


def test_whole_floats_become_integers() -> None:
    parsed = parse_json(b"[1.0, -0.0, 2.5, 1e2]")
    assert [(value, type(value)) for value in parsed] == [(1, int), (0, int), (2.5, float), (100, int)]


def test_a_refusal_names_the_value() -> None:
    with pytest.raises(ArgumentsRefused) as refused:
        parse_json(b'{"a/b": [1, {"c": 1e300}]}')
    assert refused.value.path == "/a~1b/1/c"


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    try:
        parse_json(raw)
    except ArgumentsRefused as refused:
        assert refused.code in ("invalid", "too_large")


@given(values)
def test_what_is_accepted_survives_writing_and_reading(value: Any) -> None:
    normal = normalise(value)
    assert parse_json(json.dumps(value).encode()) == normal
    assert canonical(parse_json(canonical(normal))) == canonical(normal)


@given(values)
def test_normal_form_is_reached_at_once(value: Any) -> None:
    assert canonical(normalise(normalise(value))) == canonical(normalise(value))


def test_what_the_tool_declares_is_taken() -> None:
    args = {"to": ["ada@example.com"], "who": {"name": "Ada"}}
    assert check(args, MAIL) == args


@pytest.mark.parametrize(
    ("args", "path"),
    [
        ({"to": ["nobody"]}, "/to/0"),
        ({"to": [], "bcc": ["eve@evil.example"]}, "/bcc"),
        ({"to": [], "who": {"name": "Ada", "mail": "eve@evil.example"}}, "/who"),
        ({"to": "ada@example.com"}, "/to"),
        ({}, ""),
        ([], ""),
        ({"to": [float("nan")]}, "/to/0"),
    ],
)
def test_what_the_tool_does_not_declare_is_refused(args: Any, path: str) -> None:
    with pytest.raises(ArgumentsRefused) as refused:
        check(args, MAIL)
    assert refused.value.path == path


def test_branches_of_one_schema_declare_together() -> None:
    schema = {"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}
    assert check({"a": 1, "b": 2}, schema) == {"a": 1, "b": 2}
    with pytest.raises(ArgumentsRefused):
        check({"a": 1, "c": 3}, schema)


def test_declared_openness_stays() -> None:
    assert check({"x": 1}, {"properties": {}, "additionalProperties": True}) == {"x": 1}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://evil.example/schema.json"},
        {"properties": {"a": {"$ref": "file:///etc/passwd"}}},
        {"properties": {"properties": {"pattern": "(?=look)"}}},
        {"properties": {"a": {"pattern": "(a)\\1"}}},
        {"patternProperties": {"(": {}}},
        {"patternProperties": {"a": {}}, "allOf": [{}]},
        {"$ref": "#"},
        {"$ref": "#/nowhere"},
        {"type": "nonsense"},
        {"type": "array"},
        {"$schema": "http://json-schema.org/draft-07/schema#"},
        {"properties": {"a": {"$id": "https://evil.example/"}}},
        [],
    ],
)
def test_a_bad_schema_is_refused_when_saved(schema: Any) -> None:
    with pytest.raises(ArgumentsRefused):
        check_schema(schema)


def test_a_property_may_be_called_like_a_keyword() -> None:
    check_schema({"properties": {"$ref": {"type": "string"}, "pattern": {"type": "string"}}})


def test_a_pattern_that_would_hang_python_answers_at_once() -> None:
    with pytest.raises(ArgumentsRefused):
        check({"a": "a" * 50_000 + "!"}, {"properties": {"a": {"pattern": "^(a+)+$"}}})


def test_a_schema_that_turns_in_circles_refuses_the_arguments() -> None:
    with pytest.raises(ArgumentsRefused, match="schema cannot be applied"):
        check({"a": 1}, {"properties": {"a": {"$ref": "#/properties/a"}}})


def test_equal_calls_share_a_digest_and_actions_never_do() -> None:
    first = call_digest(agent="bot", tool="mail", manifest="m", args={"b": 1, "a": 2.0})
    second = call_digest(agent="bot", tool="mail", manifest="m", args={"a": 2, "b": 1})
    assert first == second
    bound = {"revision": 1, "session": "s", "call": first, "target": "t", "release": "r"}
    assert action_digest(action="1", **bound) != action_digest(action="2", **bound)


@pytest.mark.parametrize(
    "field", ["revision", "session", "call", "target", "egress", "secrets", "files", "release"]
)
def test_every_part_of_an_action_is_bound(field: str) -> None:
    bound: dict[str, Any] = {
        "action": "1",
        "revision": 1,
        "session": "s",
        "call": "c",
        "target": "t",
        "release": "r",
    }
    changed = {"revision": 2, "egress": ["x"], "secrets": ["x"], "files": ["x"]}.get(field, "other")
    assert action_digest(**bound) != action_digest(**(bound | {field: changed}))


def test_the_digest_is_the_documented_one() -> None:
    # SHA-256 of the bytes: agentsec/call/v1\n{"agent":"a","args":{},"manifest":"m","tool":"t"}
    expected = "7f14a1160528b6d602fd49dde53056b4aa6f1d60f18bc40a8fb4a0a3ad9ae9a4"
    assert call_digest(agent="a", tool="t", manifest="m", args={}) == expected


def test_files_are_named_by_content() -> None:
    one, two = "a" * 64, "b" * 64
    assert files_in({"x": [{"$file": two}, {"y": {"$file": one}}, {"$file": two}]}) == [one, two]


@pytest.mark.parametrize(
    "reference", [{"$file": "../etc/passwd"}, {"$file": "A" * 64}, {"$file": "a" * 64, "x": 1}]
)
def test_a_malformed_file_reference_is_refused(reference: dict[str, Any]) -> None:
    with pytest.raises(ArgumentsRefused, match="/x/0"):
        files_in({"x": [reference]})
