"""Functions are worked out once a call. Nobody may tell from an answer that they were."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import hoisting, together
from policies.engine import RuleSpec, Verdict, check_condition, compile_release, decide
from policies.facts import AgentFacts, Facts, ToolFacts, build
from tests.lengths import tries

ROUNDS = together.WORTH_JOINING + together.MISSES + 6
CONDITIONS = [
    "recipients(args) > 2",
    "recipients ( args )\n> 2 // recipients(args)",
    "domain(args.mail) == 'x.example'",
    "domain(args.mail) == 'x.example' || true",
    "domain(args.mail) == 'x.example' && false",
    "args.to.all(m, domain(m) in ['x.example', 'y.example'])",
    "args.to.exists(m, domain(m) == 'x.example')",
    "args.to.exists_one(m, domain(m) == 'x.example')",
    "args.to.map(m, domain(m)) == ['x.example']",
    "size(args.to.filter(m, domain(m) != 'x.example')) > recipients(args)",
    "domain('ada@' + host(args.url)) == 'x.example'",
    "domain(args.mail + '') == 'x.example'",
    "host(args.url).endsWith('.example')",
    "host(args.url) == domain(args.mail) ? recipients(args) == 1 : host(args.mail) == ''",
    "[{'x': 1}].exists(args, recipients(args) == 0)",
    "[args].exists(other, recipients(other) > 1)",
    "'domain(args.mail)' == args.mail",
    "has(args.mail) && domain(args.mail) == domain(args.to[0])",
    "[1, 2].all(domain, domain > 0)",
    "domain(args.to) == 'x.example'",
    "recipients({'to': args.to}) > 1",
]
texts = st.sampled_from(
    [
        "a@x.example", "B@X.Example", "Ada <ada@y.example>", "a@x.example, b@y.example", "nobody", "", "@",
        "https://x.example/y", "http://a@b.example:8000", "//x.example", "ü@bücher.example",
        "\ud800@x.example",
        "a@x.example" * 60,
    ]
)  # fmt: skip
values = st.one_of(texts, st.lists(texts, max_size=4), st.none(), st.integers(), st.lists(st.integers()))
calls = st.fixed_dictionaries({}, optional=dict.fromkeys(["to", "cc", "mail", "url"], values))


def call(args: dict[str, Any]) -> Facts:
    now = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
    return build(args=args, tool=ToolFacts("t", declared=True), agent=AgentFacts("bot"), now=now)


def rules(conditions: list[str]) -> list[RuleSpec]:
    effects = ("allow", "ask", "block")
    return [
        RuleSpec(f"r{n:02}", f"r{n:02}", effects[n % 3], when=when, approvers="ops" * (n % 3 == 1))
        for n, when in enumerate(conditions)
    ]


def said(verdict: Verdict) -> Verdict:
    return replace(verdict, micros=0)


def test_every_condition_here_is_one_that_people_may_write() -> None:
    assert [check_condition(when) for when in CONDITIONS] == [[]] * len(CONDITIONS)


@settings(max_examples=tries(50))
@given(st.lists(st.sampled_from(CONDITIONS), min_size=2, max_size=8), st.lists(calls, min_size=1, max_size=3))
def test_each_round_says_what_the_first_said(conditions: list[str], several: list[dict[str, Any]]) -> None:
    # The first round asks each condition by itself in its own words, the later ones all together.
    compiled = compile_release(rules(conditions))
    fresh = [said(decide(call(args), compile_release(rules(conditions)))) for args in several]
    for _ in range(ROUNDS):
        assert [said(decide(call(args), compiled)) for args in several] == fresh


@pytest.mark.parametrize(
    ("written", "quick"),
    [
        ("recipients(args) > 2", "hoisted_recipients > 2"),
        ("domain(args.to[0]) == 'x'", "hoisted_domain[args.to[0]] == 'x'"),
        ("!args.to.all(m, domain(m) in ['a', host(m)])", None),
        ("domain((args.a)) == 'x' // domain(", "hoisted_domain[(args.a)] == 'x' // domain("),
        ("'domain(x)' == \"it's domain(x)\"", "'domain(x)' == \"it's domain(x)\""),
        ("'''domain('x')''' == args.a", "'''domain('x')''' == args.a"),
        (r"'\'' == domain(args.a)", r"'\'' == hoisted_domain[args.a]"),
        ("r'\\' == domain(args.a)", "r'\\' == domain(args.a)"),
        ("args.domain(1)", "args.domain(1)"),
        ("args . domain (1)", "args . domain (1)"),
        ("xs.all(args, recipients(args) > 1)", "xs.all(args, recipients(args) > 1)"),
        ("xs.all(k, args, recipients(args) > 1)", "xs.all(k, args, recipients(args) > 1)"),
        ("xs.all(hoisted_domain, domain(hoisted_domain) == '')", None),
        ("domain(args.a", "domain(args.a"),
        ("domain(args.a) == 'x", "domain(args.a) == 'x"),
        ("domain(`a`)", "domain(`a`)"),
    ],
)
def test_what_is_not_surely_a_function_is_left_as_it_is(written: str, quick: str | None) -> None:
    if quick is None:
        left = "hoisted" in written
        quick = written if left else "!args.to.all(m, hoisted_domain[m] in ['a', hoisted_host[m]])"
    assert hoisting.hoist(written)[0] == quick


def test_nobody_can_write_the_names() -> None:
    assert [bool(check_condition(f"{name} == {name}")) for name in hoisting.TYPES] == [True] * 3


def test_what_holds_nothing_is_asked_in_its_own_words_from_then_on() -> None:
    # A text composed in the condition is none of the arguments', so the look-up never finds it.
    compiled = compile_release(rules(["domain('a@' + args.mail) == 'x.example'", "recipients(args) == 0"]))
    seen = call({"mail": "x.example"})
    for _ in range(ROUNDS):
        assert [match.name for match in decide(seen, compiled).matched] == ["r00", "r01"]
    assert compiled.concerning(seen).needs == frozenset()


def test_a_pile_of_addresses_costs_no_more_than_its_bound() -> None:
    many = {"to": [f"a{n}@x.example" for n in range(2000)], "mail": "a@" + "x" * 400}
    assert len(hoisting.values(many, [hoisting.DOMAINS])[hoisting.DOMAINS]) == hoisting.MAX_TEXTS
