"""A draft tried on stored calls: what changes, by which rules, and what could not be read is said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from policies import backtest, engine
from policies.backtest import Difference, Past
from policies.engine import RuleSpec, compile_release
from policies.facts import AgentFacts, build
from policies.tooling import ToolDef
from policies.verdict import Match

PAY = ToolDef(name="pay", effect="write", authority=("to",))
ALLOW = RuleSpec("a", "small", "allow", tools=("pay",), when="args.amount < 100")
ASK = RuleSpec("b", "rest", "ask", tools=("pay",), approvers="finance", fallback=True)
BLOCK = RuleSpec("c", "huge", "block", tools=("pay",), when="args.amount > 1000")
LIVE = compile_release([ALLOW, ASK, BLOCK])


def call(amount: int, *, name: str = "", rejected: bool = False, **verdict: Any) -> Past:
    """One payment as the live rules judged it."""
    facts = build(
        args={"to": "acme", "amount": amount}, tool=PAY.facts(), agent=AgentFacts("bot", mode="standard"),
        now=datetime(2030, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    said = replace(engine.decide(facts, LIVE), **verdict)
    return Past(name or str(amount), json.dumps(facts.to_json()), json.dumps(said.to_json()), rejected)


def tried(*rules: RuleSpec, calls: list[Past], tools: Mapping[str, ToolDef] | None = None) -> Difference:
    known = {"pay": PAY} if tools is None else tools
    return backtest.judge(calls, compiled=compile_release(rules), tools=known, into=Difference())


def said(found: Difference, *, rejected: bool = False) -> list[tuple[str, str, int]]:
    return [(item.before, item.after, item.group.count) for item in found.changes(rejected=rejected)]


def test_the_same_rules_change_nothing() -> None:
    found = tried(ALLOW, ASK, BLOCK, calls=[call(5), call(500), call(5000)])
    assert (found.judged, found.same, found.changed) == (3, 3, 0)


def test_a_higher_limit_lets_more_through_and_names_the_rules() -> None:
    higher = replace(ALLOW, when="args.amount < 600")
    found = tried(higher, ASK, BLOCK, calls=[call(5), call(500), call(550), call(700)])
    [change] = found.changes(rejected=False)
    assert (change.before, change.after, change.looser) == ("ask", "allow", True)
    assert (dict(change.group.then), dict(change.group.now)) == ({"rest": 2}, {"small": 2})
    assert change.group.examples == ["500", "550"]


def test_calls_that_people_rejected_stand_apart() -> None:
    higher = replace(ALLOW, when="args.amount < 600")
    found = tried(higher, ASK, BLOCK, calls=[call(500, rejected=True), call(550)])
    assert said(found, rejected=True) == [("ask", "allow", 1)] == said(found)


def test_asking_other_people_is_a_change() -> None:
    found = tried(ALLOW, replace(ASK, approvers="board"), BLOCK, calls=[call(500)])
    assert said(found) == [("ask", "ask others", 1)]


def test_what_no_rule_allows_any_more_is_blocked_by_no_rule() -> None:
    found = tried(ASK, calls=[call(5)], tools={})
    [change] = found.changes(rejected=False)
    assert change.after == "ask"
    [change] = tried(calls=[call(5)]).changes(rejected=False)
    assert (change.after, dict(change.group.now)) == ("block", {"no rule": 1})


def test_what_is_built_in_stays_whatever_the_draft_says() -> None:
    mode = Match("built-in:agent-mode", "agent-mode", "block", "the agent may only read")
    past = call(5, effect="block", matched=(mode,), reasons=(mode.why,), approvals=())
    assert tried(ALLOW, calls=[past]).same == 1


def test_the_tool_is_judged_as_the_draft_declares_it() -> None:
    reads = RuleSpec("r", "reads", "allow", when="tool.effect == 'read'")
    found = tried(reads, BLOCK, calls=[call(500)], tools={"pay": replace(PAY, effect="read")})
    assert said(found) == [("ask", "allow", 1)]


def test_a_call_that_cannot_be_read_is_said_and_not_taken_for_unchanged() -> None:
    whole = call(5)
    broken = [
        replace(whole, facts=""),
        replace(whole, facts="[]"),
        replace(whole, verdict="{}"),
        replace(whole, verdict=whole.verdict.replace('"allow"', '"maybe"')),
        replace(whole, facts=whole.facts.replace("2030-01-01", "never")),
    ]
    found = tried(ALLOW, calls=[*broken, whole])
    assert (found.judged, found.unread, found.same) == (6, 5, 1)


def test_a_difference_is_kept_between_steps_as_it_is() -> None:
    found = tried(ALLOW, calls=[call(500, rejected=True), call(700), call(5), replace(call(5), facts="")])
    assert Difference.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_draft_of_many_rules_does_not_grow_the_counts_without_end() -> None:
    many = [RuleSpec(str(n), f"rule-{n}", "block", tools=("pay",)) for n in range(200)]
    [change] = tried(*many, calls=[call(5)]).changes(rejected=False)
    assert len(change.group.now) == backtest.MOST_RULES + 1
    assert change.group.now[backtest.OTHERS] == 200 - backtest.MOST_RULES
