"""Conditions as rows: what a person fills in is what the engine decides, and no value leaves its quotes."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from policies import celtext
from policies.conditions import Condition, Row, RowRefused, write
from policies.engine import check_condition, compile_release, decide
from policies.facts import AgentFacts, Facts, SessionFacts, ToolFacts, build
from policies.functions import domain
from policies.operators import OPERATORS
from policies.rowreader import read
from policies.rowwords import aloud
from policies.rules import RuleSpec, sentence
from policies.subjects import Declared, Subject, arguments, offered, typed

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
STARTER = Path(__file__).parents[2] / "policies" / "starters" / "starter.yaml"

# What people type, and what they should not have: quotes, escapes, ends of lines, unseen and far-off signs.
TEXTS = st.one_of(
    st.sampled_from(
        ["", "a", "EUR", '"', "\\", '\\"', "'", "a\nb", "\u202e", "«E»", '") || true || ("', "x@b.example"]
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8),
)
NUMBERS = st.one_of(st.integers(-1000, 1000), st.floats(-1e6, 1e6).map(lambda value: round(value, 3)))
ORIGIN = st.sampled_from(["user", "named", "trusted", "reviewer", "agent", "untrusted"])


def facts_of(args: dict[str, Any], origin: dict[str, str], labels: tuple[str, ...]) -> Facts:
    return build(
        args=args,
        tool=ToolFacts("pay.send", effect="write", authority=("t",), declared=True),
        agent=AgentFacts("bot", mode="standard"),
        session=SessionFacts(labels=labels, calls=len(args)),
        origin=origin,
        now=NOW,
    )


@st.composite
def calls(draw: st.DrawFn) -> Facts:
    shape = {
        "t": TEXTS,
        "n": NUMBERS,
        "f": st.booleans(),
        "l": st.lists(TEXTS, max_size=3),
        "x-y": TEXTS,
        "in": NUMBERS,
        "o": st.none() | TEXTS,
        "m": st.fixed_dictionaries({}, optional={"to": TEXTS}),
    }
    args = draw(st.fixed_dictionaries({}, optional=shape))
    origin = {name: draw(ORIGIN) for name in args}
    labels = draw(st.lists(st.sampled_from(["untrusted", "private", "secret"]), unique=True))
    return facts_of(args, origin, tuple(labels))


Test = Callable[[Any, tuple[Any, ...]], bool]
MEANING: dict[str, Test] = {
    "is": lambda got, values: got == values[0],
    "one_of": lambda got, values: got in values,
    "contains": lambda got, values: values[0] in got,
    "starts": lambda got, values: got.startswith(values[0]),
    "ends": lambda got, values: got.endswith(values[0]),
    "gt": lambda got, values: got > values[0],
    "ge": lambda got, values: got >= values[0],
    "lt": lambda got, values: got < values[0],
    "le": lambda got, values: got <= values[0],
    "size_gt": lambda got, values: len(got) > values[0],
    "size_le": lambda got, values: len(got) <= values[0],
    "has": lambda got, values: values[0] in got,
    "has_any": lambda got, values: any(item in values for item in got),
    "only": lambda got, values: all(item in values for item in got),
    "beyond": lambda got, values: any(item not in values for item in got),
    "yes": lambda got, values: got is True,
    "present": lambda got, values: True,
}
SUBJECTS = {
    "args.t": ("text", "t"),
    'args["x-y"]': ("text", "x-y"),
    "args.m.to": ("text", "m.to"),
    "args.n": ("number", "n"),
    'args["in"]': ("number", "in"),
    "args.f": ("flag", "f"),
    "args.l": ("texts", "l"),
    "args.o": ("text", "o"),
    "session.labels": ("texts", ""),
    "session.calls": ("whole", ""),
    "tool.effect": ("text", ""),
    "tool.declared": ("flag", ""),
}


@st.composite
def rows(draw: st.DrawFn) -> Row:
    subject = draw(st.sampled_from(sorted(SUBJECTS)))
    kind, path = SUBJECTS[subject]
    group = "Arguments" if path else "Session"
    fitting = Subject(subject, kind, "", group).operators
    names = [name for name in fitting if (OPERATORS[name].opposite or name) in {*MEANING, "came"}]
    operator = OPERATORS[draw(st.sampled_from(names))]
    value = {"number": NUMBERS, "whole": st.integers(-5, 5)}.get(kind, TEXTS)
    if operator.id in ("size_gt", "size_le"):
        value = st.integers(0, 5)
    if operator.id in ("came", "not_came"):
        value = ORIGIN
    sizes = {"none": (0, 0), "one": (1, 1), "many": (1, 3)}[operator.values]
    if operator.opposite:
        sizes = {"none": (0, 0), "one": (1, 1), "many": (1, 3)}[OPERATORS[operator.opposite].values]
    values = draw(st.lists(value, min_size=sizes[0], max_size=sizes[1]))
    return Row(subject, operator.id, tuple(values), "null" if path == "o" else "has")


def conditions() -> st.SearchStrategy[Condition]:
    groups = st.builds(Condition, st.just("any"), st.lists(rows(), min_size=2, max_size=3).map(tuple))
    mixed = st.lists(rows() | groups, max_size=4).map(tuple)
    return st.builds(Condition, st.just("all"), mixed) | st.builds(
        Condition, st.just("any"), st.lists(rows(), max_size=4).map(tuple)
    )


def fact(facts: Facts, subject: str) -> Any:
    known = {
        "session.labels": list(facts.session.labels),
        "session.calls": facts.session.calls,
        "tool.effect": facts.tool.effect,
        "tool.declared": facts.tool.declared,
    }
    if subject in known:
        return known[subject]
    value: Any = facts.args
    for step in SUBJECTS[subject][1].split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def meant(item: Row | Condition, facts: Facts) -> bool:
    """What a row says, in plain Python."""
    if isinstance(item, Condition):
        held = [meant(inner, facts) for inner in item.rows]
        return all(held) if item.join == "all" else any(held) or not held
    operator = OPERATORS[item.operator]
    name = operator.opposite or operator.id
    if name == "came":
        held_one = facts.origin.get(SUBJECTS[item.subject][1]) in item.values
    else:
        got = fact(facts, item.subject)
        held_one = got is not None and MEANING[name](got, item.values)
    return held_one != bool(operator.opposite)


def judged(when: str, facts: Facts) -> str:
    rule = RuleSpec(id="r", name="r", effect="allow", when=when)
    return decide(facts, compile_release([rule])).considered[0].outcome


@given(conditions(), calls())
def test_rows_mean_what_they_say_and_an_absent_argument_is_no_error(given: Condition, facts: Facts) -> None:
    expected = "matched" if meant(given, facts) else "no match"
    assert judged(write(given), facts) == expected


@given(conditions())
def test_what_the_form_wrote_it_shows_as_rows_again(given: Condition) -> None:
    written = write(given)
    shown = read(written)
    assert shown is not None and write(shown) == written and check_condition(written) == []


@given(TEXTS | st.text(max_size=30), calls())
def test_no_value_breaks_out_of_its_quotes(value: str, facts: Facts) -> None:
    try:
        written = write(Condition("all", (Row("args.t", "is", (value,)),)))
    except RowRefused:
        assert "\x00" in value or any("\ud800" <= sign <= "\udfff" for sign in value)
        return
    taken = celtext.tokens(written)
    assert taken is not None and taken.values == (value,) and written.isprintable()
    assert judged(written, facts) == ("matched" if facts.args.get("t") == value else "no match")


@given(st.text(max_size=60))
def test_reading_never_fails_whatever_the_text(text: str) -> None:
    shown = read(text)
    assert shown is None or write(shown) is not None


WORDS = [
    *(
        "args.a",
        "has(args.a)",
        "origin.a",
        "authority[name]",
        "tool.declared",
        "session.labels",
        "findings",
        "now",
    ),
    *(
        '"x"',
        "5",
        "true",
        "null",
        "==",
        "!=",
        ">",
        "in",
        "[",
        "]",
        "(",
        ")",
        "&&",
        "||",
        "!",
        ",",
        ".",
        "size(",
    ),
    "exists(item, item",
]


@given(st.lists(st.sampled_from(WORDS), max_size=40))
def test_reading_never_fails_whatever_the_words(given: list[str]) -> None:
    text = " ".join(given)
    shown = read(text)
    assert shown is None or celtext.tokens(write(shown)).same_as(celtext.tokens(text))


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000 + "tool.declared" + ")" * 5000,
        "(" * 600 + "tool.declared" + " || tool.declared)" * 600,
        "tool.declared && " * 580 + "tool.declared",
        "!" * 9000,
        'has(args.a) && args.a in ["' + "a" * 9000 + '"]',
        "has(args.a) && " * 600 + "x",
    ],
)
def test_long_and_deep_conditions_are_read_or_left_in_no_time(text: str) -> None:
    began = time.perf_counter()
    assert read(text) is None and aloud(text)
    assert time.perf_counter() - began < 2


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12), TEXTS)
def test_an_argument_of_any_name_is_found(name: str, value: str) -> None:
    row = Row(celtext.place("args", (name,)), "is", (value,))
    written = write(Condition("all", (row,)))
    assert read(written) == Condition("all", (row,))
    assert judged(written, facts_of({name: value}, {}, ())) == "matched"
    assert judged(written, facts_of({}, {}, ())) == "no match"


def test_a_text_that_speaks_of_has_is_a_text() -> None:
    assert check_condition(write(Condition("all", (Row("args.a", "is", ("has(tool.name)",)),)))) == []
    assert check_condition("has(tool.name)") != []


@pytest.mark.parametrize(
    "when",
    [
        "args.amount > 500 ? true : false",
        "!(args.a == 1) == true",
        "has(args.a) || has(args.b) && has(args.c)",
        "has(args.a) && args.b > 5 || tool.declared",
        "args.amount > 5u",
        'args.name == r"\\d"',
        'args.name == """a"""',
        'args.name == b"a"',
        "args.amount > 5 // really",
        "args.a.b.c.d.e.f == 1",
        "now.getHours('Nowhere; drop') == 1",
        "args.amount > 99999999999999999999",
        "((tool.declared && (tool.effect == 'a' || (tool.declared && tool.effect == 'b'))))",
        "'a' in args",
        "findings.exists(name, name.severity == 'high')",
    ],
)
def test_other_cel_is_left_alone_or_shown_as_the_very_same(when: str) -> None:
    shown = read(when)
    written = celtext.tokens(write(shown)) if shown else None
    assert shown is None or (written is not None and written.same_as(celtext.tokens(when)))


@pytest.mark.parametrize(
    "when", ["args.a > 1 || (args.b > 1 && args.c > 1 || args.d > 1)", "x ? y : z", "args.a + 1 > 2"]
)
def test_what_rows_cannot_show_is_said_to_be_so(when: str) -> None:
    assert read(when) is None


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("has(args.amount) && args.amount > 500", "amount is greater than 500"),
        ('args.currency != "EUR"', "currency is not EUR"),
        (
            '"untrusted" in session.labels && tool.declared',
            "the session is labelled untrusted and the tool is declared",
        ),
        (
            'authority.exists(name, !(authority[name] in ["user", "named"]))',
            "something that says who or what is affected did not come from user or named",
        ),
        ("args.a > 1 || args.b < 2", "(a is greater than 1 or b is less than 2)"),
        ('args.name == "a and b is 5"', 'name is "a and b is 5"'),
        ('args["or tool"] == "x"', '"or tool" is x'),
        ('now.getDayOfWeek("UTC") in [0, 6]', "the day of the week (UTC) is one of Sunday or Saturday"),
        ("args.a +  1 > 2", "args.a + 1 > 2"),
        ("args.a.b() || x", "(args.a.b() || x)"),
    ],
)
def test_a_condition_reads_aloud(when: str, said: str) -> None:
    assert aloud(when) == said


def test_a_rule_reads_aloud_with_its_condition_in_words() -> None:
    rule = RuleSpec(
        id="r", name="r", effect="ask", tools=("pay.send",), approvers="finance",
        when=write(Condition("all", (Row("args.amount", "gt", (500,)),))),
    )  # fmt: skip
    said = (
        "ask finance (1 of them, within 15 min) when any agent calls pay.send and amount is greater than 500"
    )
    assert sentence(rule) == said


def test_a_rule_of_the_starter_set_that_has_no_words_says_what_it_is_for() -> None:
    rules = yaml.safe_load(STARTER.read_text())["rules"]
    wordless = [rule["name"] for rule in rules if read(rule.get("when", "")) is None]
    assert [rule["name"] for rule in rules if rule["name"] in wordless and not rule.get("description")] == []


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (Row("args.a", "nonsense", ("x",)), "choose a comparison"),
        (Row("args.a", "is", ()), "give a value"),
        (Row("args.a", "one_of", ()), "give at least one value"),
        (Row("args.a || true", "is", ("x",)), "choose what is compared"),
        (Row("args.a) || (true", "is", ("x",)), "choose what is compared"),
        (Row("env.SECRET", "is", ("x",)), "choose what is compared"),
        (Row("session.calls", "present"), "only arguments are given"),
        (Row("now", "before", ("tomorrow",)), "give a moment"),
        (Row("args.a", "gt", (float("nan"),)), "a number lies between"),
        (Row("args.a", "is", ("x",), "perhaps"), "an unknown way"),
    ],
)
def test_a_row_that_means_nothing_is_refused_where_it_stands(row: Row, why: str) -> None:
    with pytest.raises(RowRefused, match=why) as refused:
        write(Condition("all", (Row("tool.declared", "yes"), row)))
    assert refused.value.row == 1


# What is offered

PAY = Declared(
    "pay.send",
    {
        "type": "object",
        "properties": {
            "to": {"type": "array", "items": {"type": "string"}, "description": "Who gets it"},
            "amount": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "currency": {"enum": ["EUR", "USD"], "type": "string"},
            "note": {"$ref": "#/$defs/Note"},
            "round": {"$ref": "#/properties/round"},
        },
        "$defs": {"Note": {"type": "object", "properties": {"text": {"type": "string"}}}},
    },
    ("to",),
)


def test_the_arguments_that_tools_declare_are_offered_with_their_kinds() -> None:
    found = {subject.expression: subject for subject in arguments([PAY])}
    assert {name: subject.kind for name, subject in found.items()} == {
        "args.to": "texts",
        "args.amount": "number",
        "args.currency": "text",
        "args.note": "object",
        "args.note.text": "text",
        "args.round": "any",
    }
    assert (found["args.amount"].nullable, found["args.currency"].choices) == (True, ("EUR", "USD"))
    assert found["args.to"].doc == "Who gets it Says who or what is affected. An argument of pay.send."


def test_an_argument_that_tools_declare_differently_is_of_any_kind() -> None:
    other = Declared("sms.send", {"properties": {"to": {"type": "string"}}})
    assert {item.expression: item.kind for item in arguments([PAY, other])}["args.to"] == "any"


def test_everything_offered_can_be_written_and_type_checks() -> None:
    values = {"moment": "2030-01-01T10:00", "day": "Monday", "number": "5", "whole": "5", "numbers": "5"}
    special = {
        "came": "user",
        "any_from": "user",
        "severity": "high",
        "domain": "b.example",
        "only_at": "b.example",
        "outside": "b.example",
    }
    for subject in offered([PAY], zone="Europe/Berlin"):
        for name in subject.operators:
            operator = OPERATORS[name]
            base = OPERATORS[operator.opposite or name]
            sample = (
                "3"
                if base.id.startswith("size")
                else special.get(base.id, values.get(subject.kind, "b.example"))
            )
            sample = "user" if base.id in ("all_from", "not_all_from") else sample
            given_values = typed(subject, name, [] if base.values == "none" else [sample])
            row = Row(subject.expression, name, given_values, "null" if subject.nullable else "has")
            written = write(Condition("all", (row,)))
            assert check_condition(written) == [], (written, name)
            assert read(written) is not None and aloud(written) != written, written


@pytest.mark.parametrize(
    ("expression", "operator", "value"),
    [
        ("args.amount", "gt", "five"),
        ("args.amount", "gt", "1e400"),
        ("args.amount", "contains", "x"),
        ("args.to", "only_at", "a b"),
        ("args.to", "came", "heaven"),
        ("args.to", "size_gt", "-1"),
        ('now.getHours("UTC")', "gt", "24"),
        ('now.getDayOfWeek("UTC")', "one_of", "Caturday"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(expression: str, operator: str, value: str) -> None:
    found = {subject.expression: subject for subject in offered([PAY])}
    with pytest.raises(ValueError):
        typed(found[expression], operator, [value])


@pytest.mark.parametrize(
    ("to", "outcome"),
    [
        (None, "no match"),
        ([], "no match"),
        (["a@b.example"], "no match"),
        (["a@b.example", "eve@evil.example"], "matched"),
        (["Eve <eve@evil.example>, a@b.example"], "error"),
    ],
)
def test_an_address_outside_is_found_and_an_odd_one_is_an_error(to: Any, outcome: str) -> None:
    when = write(Condition("all", (Row("args.to", "outside", ("b.example",)),)))
    assert judged(when, facts_of({} if to is None else {"to": to}, {}, ())) == outcome


def test_nothing_that_says_who_is_affected_is_not_all_from_the_user() -> None:
    condition = Condition("any", (Row("authority", "all_from", ("user",)), Row("tool.declared", "no")))
    when = write(condition)
    assert read(when) == condition
    found = [judged(when, facts_of(args, {"t": "user"} if args else {}, ())) for args in ({"t": "x"}, {})]
    assert found == ["matched", "no match"]


def test_a_domain_is_compared_as_the_engine_reads_it() -> None:
    found = {subject.expression: subject for subject in offered([PAY])}
    assert typed(found["args.to"], "only_at", ["@Bücher.example"]) == (domain("x@bücher.example"),)
