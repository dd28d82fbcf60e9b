"""Conditions are answered together for speed. Nobody may tell from a verdict that they were."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import together
from policies.engine import RuleSpec, Verdict, check_condition, compile_release, decide
from policies.facts import AgentFacts, Facts, SessionFacts, ToolFacts, build

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
OFTEN = together.WORTH_JOINING + 6
STRICTNESS = {"allow": 0, "ask": 1, "block": 2}
CONDITIONS = [
    "",
    "true",
    "false",
    "true // a comment to the end",
    "args.flag",
    "args.text",
    "args.missing == 1",
    "args.n > 1",
    "args.n > 'x'",
    "1 / (args.n - 2) == 1",
    "args.missing == 1 || true",
    "'),(' == args.text",
    "[true, false].exists(x, x)",
    "domain(args.mail) == 'x.example'",
    "args.missing ? true : false",
    "null == args.flag",
    "now > timestamp('2026-01-01T00:00:00Z')",
]
conditions = st.sampled_from(CONDITIONS)


def call(**args: Any) -> Facts:
    return build(
        args={"flag": True, "text": "true", "n": 2, "mail": "a@x.example"} | args,
        tool=ToolFacts("email.send", effect="write", authority=("to",), declared=True),
        agent=AgentFacts("news-bot", mode="standard"),
        session=SessionFacts(labels=("untrusted",)),
        now=NOW,
    )


def rule(effect: str, when: str = "", *, name: str, **fields: Any) -> RuleSpec:
    approvers = "ops" if effect == "ask" else ""
    return RuleSpec(id=name, name=name, effect=effect, when=when, approvers=approvers, **fields)


@st.composite
def rule_sets(draw: st.DrawFn, most: int = 8) -> list[RuleSpec]:
    return [
        rule(
            draw(st.sampled_from(["allow", "ask", "block"])),
            draw(conditions),
            name=f"r{index:02}",
            mode=draw(st.sampled_from(["live", "live", "shadow"])),
            fallback=draw(st.sampled_from([False, False, True])),
            until=draw(st.sampled_from([None, None, NOW])),
        )
        for index in range(draw(st.integers(0, most)))
    ]


def timeless(verdict: Verdict) -> Verdict:
    return replace(verdict, micros=0)


def often(facts: Facts, rules: list[RuleSpec]) -> list[Verdict]:
    """The verdicts of one release on one call, from before the conditions are joined to well after."""
    compiled = compile_release(rules)
    return [timeless(decide(facts, compiled)) for _ in range(OFTEN)]


def test_every_condition_here_is_one_that_can_be_saved() -> None:
    assert [text for text in CONDITIONS if check_condition(text)] == []


@given(rule_sets(), st.fixed_dictionaries({}, optional={"missing": st.sampled_from([1, "1", None])}))
def test_the_hundredth_verdict_is_the_first(rules: list[RuleSpec], args: dict[str, Any]) -> None:
    first, *later = often(call(**args), rules)
    assert [verdict for verdict in later if verdict != first] == []


@given(rule_sets(), st.lists(st.sampled_from([{}, {"n": 3}, {"missing": 1}, {"flag": "x"}]), max_size=20))
def test_what_earlier_calls_did_changes_no_verdict(
    rules: list[RuleSpec], calls: list[dict[str, Any]]
) -> None:
    compiled = compile_release(rules)
    for args in calls:
        fresh = decide(call(**args), compile_release(rules))
        assert timeless(decide(call(**args), compiled)) == timeless(fresh)


@given(rule_sets())
def test_together_says_what_each_says_alone(rules: list[RuleSpec]) -> None:
    alone = {
        each.name: timeless(decide(call(), compile_release([replace(each, fallback=False)]))).considered[0]
        for each in rules
    }
    spoken = [item for item in often(call(), rules)[-1].considered if item.outcome != "not needed"]
    assert spoken == [alone[item.name] for item in spoken]


@given(rule_sets(), conditions)
def test_an_added_allow_weakens_no_block_and_no_ask(rules: list[RuleSpec], when: str) -> None:
    before = often(call(), rules)[-1]
    after = often(call(), [*rules, rule("allow", when, name="zz")])[-1]
    asked = {
        match.name for match in before.matched if match.effect != "allow" and not is_fallback(rules, match)
    }
    assert asked <= {match.name for match in after.matched}
    assert not asked or STRICTNESS[after.effect] >= min(
        STRICTNESS[match.effect] for match in before.matched if match.name in asked
    )


def is_fallback(rules: list[RuleSpec], match: Any) -> bool:
    return next(each.fallback for each in rules if each.name == match.name)


@given(rule_sets(), st.sampled_from(["allow", "ask", "block"]))
def test_a_condition_that_errs_among_others_never_loosens(rules: list[RuleSpec], effect: str) -> None:
    said = {
        when: STRICTNESS[often(call(), [*rules, rule(effect, when, name="zz")])[-1].effect]
        for when in ("true", "false", "args.missing == 1")
    }
    assert said["args.missing == 1"] >= min(said["true"], said["false"])
    assert said["args.missing == 1"] >= said["false" if effect == "allow" else "true"]


def test_an_error_spoils_the_list_and_nothing_else() -> None:
    rules = [rule("ask", f"args.n > {number}", name=f"r{number:03}") for number in range(100)]
    broken = rule("block", "args.missing == 1", name="broken")
    compiled = compile_release([*rules, broken])
    for _ in range(OFTEN):
        verdict = decide(call(), compiled)
        assert verdict.effect == "block"
        assert [item.name for item in verdict.considered if item.outcome == "matched"] == ["r000", "r001"]
    assert decide(call(missing=2), compiled).effect == "ask"
    assert decide(call(missing=1), compiled).effect == "block"


@pytest.mark.parametrize("nested", [10, 14, 15, 16, 17, 20, 30])
def test_conditions_too_deep_to_join_are_still_answered(nested: int) -> None:
    deep = "!" * 2 + "(" * nested + "args.n == 2" + ")" * nested
    if check_condition(deep):
        pytest.skip("too deep even alone")
    rules = [rule("block", deep, name="deep"), rule("ask", "args.n == 2", name="plain")]
    assert {verdict.effect for verdict in often(call(), rules)} == {"block"}


def test_long_loops_that_are_too_much_together_are_answered_one_by_one() -> None:
    many = list(range(9000))
    loop = "args.many.all(x, x >= 0)"
    rules = [rule("ask", loop, name=f"r{number}") for number in range(8)]
    first, *later = often(call(many=many), rules)
    assert {item.outcome for item in first.considered} == {"matched"}
    assert [verdict for verdict in later if verdict != first] == []


def test_no_more_is_joined_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policies.engine._JOINED_CONDITIONS", 5)
    rules = [rule("ask", f"args.n > {number}", name=f"r{number:03}") for number in range(100)]
    first, *later = often(call(), rules)
    assert [verdict for verdict in later if verdict != first] == []


def test_many_threads_join_and_cast_out_at_once() -> None:
    rules = [rule("ask", f"args.n > {number}", name=f"r{number:03}") for number in range(70)]
    rules += [rule("block", f"args.bad{number}", name=f"bad{number}") for number in range(4)]
    compiled = compile_release(rules)
    good = {f"bad{number}": False for number in range(4)}
    calls = [call(**good), *(call(**(good | {f"bad{number}": "odd"})) for number in range(4)), call()]
    expected = [timeless(decide(facts, compile_release(rules))) for facts in calls]
    wrong: list[int] = []

    def work(begin: int) -> None:
        for turn in range(60):
            place = (begin + turn) % len(calls)
            if timeless(decide(calls[place], compiled)) != expected[place]:
                wrong.append(place)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
