"""A backtest takes short cuts. What it finds is what judging every call by itself finds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from policies import backtest, engine
from policies.backtest import OTHER_PEOPLE, Difference, Past
from policies.engine import RuleSpec, Verdict, compile_release, decide
from policies.facts import AgentFacts, Facts, SessionFacts, build
from policies.rulings import ruling
from policies.tooling import ToolDef
from policies.untouched import Untouched
from policies.verdict import Match

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
conditions = st.sampled_from(
    [
        "", "true", "false", "args.n > 2", "args.n > 'x'", "args.missing == 1", "args.flag",
        "'untrusted' in session.labels", "tool.effect == 'read'", "recipients(args) > 1",
        "domain(args.to) == 'x.example'", "authority.exists(name, authority[name] == 'agent')",
        "now > timestamp('2026-05-04T12:00:00Z')",
    ]
)  # fmt: skip
globs = st.sampled_from([(), ("pay",), ("p*",), ("mail", "pay"), ("?ail",), ("*",)])
tools = st.fixed_dictionaries(
    {},
    optional={
        name: st.builds(
            ToolDef, name=st.just(name), effect=st.sampled_from(["read", "write"]),
            authority=st.sampled_from([(), ("to",)]), description=st.sampled_from(["", "x"]),
        )
        for name in ("pay", "mail")
    },
)  # fmt: skip
args = st.fixed_dictionaries(
    {"n": st.integers(0, 5)},
    optional={"to": st.sampled_from(["a@x.example", "b@y.example, c@y.example", ""]), "flag": st.booleans()},
)


@st.composite
def rule_sets(draw: st.DrawFn, most: int = 6) -> list[RuleSpec]:
    return [
        RuleSpec(
            id=f"r{n}", name=f"r{n}", effect=draw(st.sampled_from(["allow", "ask", "block"])),
            agents=draw(st.sampled_from([(), (), ("bot",), ("other",)])), tools=draw(globs),
            when=draw(conditions), approvers=draw(st.sampled_from(["ops", "board"])),
            quorum=draw(st.sampled_from([1, 1, 2])), fallback=draw(st.sampled_from([False, False, True])),
            mode=draw(st.sampled_from(["live", "live", "shadow"])),
            enabled=draw(st.sampled_from([True, True, False])),
            until=draw(st.sampled_from([None, None, NOW, NOW + timedelta(minutes=3)])),
        )
        for n in range(draw(st.integers(0, most)))
    ]  # fmt: skip


@st.composite
def drafts(draw: st.DrawFn) -> tuple[list[RuleSpec], list[RuleSpec]]:
    """Rules as they were, and a draft that leaves some of them as they are."""
    before, other = draw(rule_sets()), draw(rule_sets())
    kept = [rule for rule in before if draw(st.booleans())]
    known = {rule.name for rule in kept}
    return before, kept + [rule for rule in other if rule.name not in known]


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    one = st.fixed_dictionaries(
        {
            "tool": st.sampled_from(["pay", "mail", "nobody.knows"]), "args": args,
            "agent": st.sampled_from(["bot", "other"]), "labels": st.sampled_from([(), ("untrusted",)]),
            "minutes": st.integers(0, 5), "rejected": st.booleans(), "built_in": st.booleans(),
        }
    )  # fmt: skip
    return draw(st.lists(one, max_size=12))


def facts(made: dict[str, Any], defined: dict[str, ToolDef]) -> Facts:
    tool = defined.get(made["tool"]) or ToolDef.undeclared(made["tool"])
    return build(
        args=made["args"], tool=tool.facts(), agent=AgentFacts(made["agent"], mode="standard"),
        session=SessionFacts(labels=made["labels"]), origin={"to": "user"},
        now=NOW + timedelta(minutes=made["minutes"]),
    )  # fmt: skip


def judged(made: dict[str, Any], seen: Facts, compiled: engine.Compiled) -> Verdict:
    said = decide(seen, compiled)
    if not made["built_in"]:
        return said
    mode = Match("built-in:agent-mode", "agent-mode", "block", "may only read")
    return replace(said, effect="block", matched=(mode, *said.matched), approvals=())


def asked(verdict: Verdict) -> set[tuple[str, int, bool]]:
    return {(wish.group, wish.quorum, wish.step_up) for wish in verdict.approvals}


def plainly(
    history: list[dict[str, Any]], before: dict[str, ToolDef], after: dict[str, ToolDef],
    was: engine.Compiled, new: list[RuleSpec],
) -> list[tuple[str, str, bool]]:  # fmt: skip
    """From what to what each call changes, judged one by one by a draft compiled for it alone."""
    found = []
    for made in history:
        then = judged(made, facts(made, before), was)
        now = judged(made, facts(made, after), compile_release(new))
        effect = OTHER_PEOPLE if then.effect == now.effect and asked(then) != asked(now) else now.effect
        if effect != then.effect:
            found.append((then.effect, effect, made["rejected"]))
    return sorted(found)


@settings(max_examples=50, deadline=None)
@given(drafts(), histories(), tools, tools, st.booleans())
def test_a_backtest_finds_what_judging_one_by_one_finds(
    both: tuple[list[RuleSpec], list[RuleSpec]],
    history: list[dict[str, Any]],
    before: dict[str, ToolDef],
    other: dict[str, ToolDef],
    same_tools: bool,
) -> None:
    old, new = both
    after = before if same_tools else other
    was = compile_release(old)
    untouched = Untouched(before=(old, before), after=(new, after))
    stored = []
    for number, made in enumerate(history):
        seen = facts(made, before)
        texts = (json.dumps(each.to_json()) for each in (seen, judged(made, seen, was)))
        skip = untouched.holds(made["tool"])
        stored.append(Past(str(number), *texts, rejected=made["rejected"], untouched=skip))
    # More than once, since short cuts begin with the second call of a kind.
    compiled = compile_release(new)
    for _ in range(3):
        found = backtest.judge(stored, compiled=compiled, tools=after, into=Difference())
        assert (found.judged, found.unread) == (len(history), 0)
        changes = [key for key, group in found.groups.items() for _ in range(group.count)]
        assert sorted(changes) == plainly(history, before, after, was, new)


@settings(max_examples=50, deadline=None)
@given(rule_sets(8), st.lists(histories(), min_size=1, max_size=2), tools)
def test_calls_that_share_a_verdict_would_have_had_it(
    rules: list[RuleSpec], several: list[list[dict[str, Any]]], defined: dict[str, ToolDef]
) -> None:
    compiled = compile_release(rules)
    for made in (made for history in several for made in history):
        seen = facts(made, defined)
        short, whole = ruling(seen, compiled), decide(seen, compile_release(rules))
        assert (short.effect, short.approvals) == (whole.effect, whole.approvals)
        assert [match.name for match in short.matched] == [match.name for match in whole.matched]
        assert [match.name for match in short.shadow] == [match.name for match in whole.shadow]


def holds(*, before: RuleSpec, after: RuleSpec, tool: str = "pay") -> bool:
    return Untouched(before=([before], {}), after=([after], {})).holds(tool)


def test_words_do_not_touch_a_call_and_whatever_decides_does() -> None:
    rule = RuleSpec("r", "r", "ask", tools=("p*",), approvers="ops")
    words: list[Callable[[], RuleSpec]] = [
        lambda: replace(rule, description="said otherwise"),
        lambda: replace(rule, id="s", name="s"),
        lambda: replace(rule, expires_after=5),
    ]
    decisive = {
        "effect": "block", "agents": ("bot",), "tools": ("pay",), "when": "false", "approvers": "board",
        "quorum": 2, "step_up": True, "fallback": True, "mode": "shadow", "enabled": False, "until": NOW,
    }  # fmt: skip
    assert [holds(before=rule, after=change()) for change in words] == [True] * 3
    assert not any(holds(before=rule, after=replace(rule, **{key: val})) for key, val in decisive.items())
    assert holds(before=rule, after=replace(rule, effect="block"), tool="mail")
