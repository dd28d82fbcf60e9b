"""A rule set judges calls. Whatever breaks, the answer gets stricter, never milder."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.engine import (
    Approval,
    RuleSpec,
    RulesRefused,
    Verdict,
    check_condition,
    compile_release,
    decide,
    release_digest,
    sentence,
)
from policies.facts import FACTS, FUNCTIONS, AgentFacts, Facts, SessionFacts, ToolFacts, build

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
STRICTNESS = {"allow": 0, "ask": 1, "block": 2}
MAIL = RuleSpec(
    id="1",
    name="mass-mail",
    effect="ask",
    tools=("email.send",),
    when="recipients(args) > 100 || (has(args.attachments) && size(args.attachments) > 0)",
    approvers="comms",
)
ALLOW = RuleSpec(id="2", name="mail", effect="allow", tools=("email.*",))


def call(tool: str = "email.send", *, declared: bool = True, **args: Any) -> Facts:
    return build(
        args=args,
        tool=ToolFacts(tool, effect="write", authority=("to",), declared=declared),
        agent=AgentFacts("news-bot", mode="standard"),
        session=SessionFacts(labels=("untrusted",)),
        origin={"to": "user"},
        now=NOW,
    )


def judge(facts: Facts, *rules: RuleSpec) -> Verdict:
    return decide(facts, compile_release(rules))


def rule(effect: str, when: str = "", *, name: str = "r", **fields: Any) -> RuleSpec:
    approvers = "ops" if effect == "ask" else ""
    return RuleSpec(
        **({"id": name, "name": name, "effect": effect, "when": when, "approvers": approvers} | fields)
    )


def test_three_recipients_go_at_once() -> None:
    assert judge(call(to=["a@x.example"] * 3), MAIL, ALLOW).effect == "allow"


@pytest.mark.parametrize(
    "args",
    [
        {"to": ["a@x.example"] * 101},
        {"to": ["a@x.example"] * 60, "cc": ["a@x.example"] * 40, "bcc": "b@x.example"},
        {"to": ", ".join(["a@x.example"] * 101)},
        {"to": " ".join(["a@x.example"] * 101)},
        {"to": ["a@x.example"], "attachments": [{"$file": "0" * 64}]},
    ],
)
def test_a_mass_mail_waits_for_communications(args: dict[str, Any]) -> None:
    verdict = judge(call(**args), MAIL, ALLOW)
    assert verdict.approvals == (Approval("comms", 1, "mass-mail", 900, False),)


def test_nobody_said_yes_is_a_block_with_a_reason() -> None:
    verdict = judge(call("shell.run"), ALLOW)
    assert (verdict.effect, verdict.reasons) == ("block", ("no rule allows news-bot to call shell.run",))


def test_any_block_wins() -> None:
    assert judge(call(to=[]), ALLOW, rule("ask"), rule("block", name="no")).effect == "block"


@pytest.mark.parametrize(
    "when",
    [
        "args.missing == 1",
        "args.text",
        "args.text == 'false' && args.number",
        "args.number > 'x'",
        "args.text.matches('a(')",
        "args.many.all(a, args.many.all(b, args.many.all(c, c >= 0)))",
        "recipients(args.odd) > 1",
        "domain(args.text) == 'x'",
        "in_cidr(args.text, '10.0.0.0/8')",
        "1 / args.zero == 1",
        "args.none",
    ],
)
@pytest.mark.parametrize("effect", ["allow", "ask", "block"])
def test_an_erring_condition_fails_closed(when: str, effect: str) -> None:
    facts = call(text="false", number=5, many=list(range(60)), odd={"to": 5}, zero=0, none=None)
    verdict = judge(facts, rule(effect, when))
    assert verdict.effect == ("block" if effect == "allow" else effect)
    assert verdict.considered[0].outcome == "error"


def test_the_text_true_is_not_true() -> None:
    assert judge(call(flag="true"), rule("allow", "args.flag")).effect == "block"
    assert judge(call(flag=True), rule("allow", "args.flag")).effect == "allow"
    assert judge(call(flag=False), rule("block", "args.flag"), ALLOW).effect == "allow"


def test_an_error_tells_what_failed() -> None:
    verdict = judge(call(), rule("ask", "args.missing == 1"))
    assert "missing" in verdict.matched[0].error
    assert "counts as a match" in verdict.reasons[0]


def test_unreadable_facts_are_blocked() -> None:
    assert judge(call("bad\ud800name"), rule("allow", tools=("bad*",))).effect == "block"


def test_no_pattern_allows_an_undeclared_tool() -> None:
    facts = call("email.wipe", declared=False)
    assert judge(facts, ALLOW, rule("allow")).effect == "block"
    assert judge(facts, rule("allow", tools=("email.wipe",))).effect == "allow"
    assert judge(facts, rule("ask", tools=("email.*",))).effect == "ask"


def test_an_undeclared_tool_counts_as_the_worst() -> None:
    claimed = ToolFacts("t", effect="read", sends="none", output="trusted", authority=(), declared=False)
    facts = build(args={"x": 1}, tool=claimed, agent=AgentFacts("a"), now=NOW)
    assert (facts.tool.effect, facts.tool.sends, facts.tool.output) == (
        "destructive",
        "external",
        "untrusted",
    )
    assert facts.authority == {"x": "agent"}


def test_two_groups_must_both_approve_and_one_group_gets_its_strictest_wish() -> None:
    verdict = judge(
        call(),
        rule("ask", name="a", quorum=1, expires_after=60),
        rule("ask", name="b", quorum=2, expires_after=600, step_up=True),
        rule("ask", name="c", approvers="legal"),
    )
    assert verdict.approvals == (Approval("legal", 1, "c", 900), Approval("ops", 2, "a, b", 60, True))


def test_shadow_rules_are_told_and_not_obeyed() -> None:
    verdict = judge(call(to=[]), ALLOW, rule("block", mode="shadow"))
    assert (verdict.effect, [match.name for match in verdict.shadow]) == ("allow", ["r"])


def test_a_rule_ends_by_itself_and_a_disabled_one_is_silent() -> None:
    assert judge(call(), rule("allow", until=NOW)).effect == "block"
    assert judge(call(), rule("allow", until=NOW + timedelta(seconds=1))).effect == "allow"
    assert judge(call(), rule("allow", enabled=False)).effect == "block"


def test_globs_match_whole_names_of_agents_and_tools() -> None:
    assert judge(call(), rule("allow", agents=("news",))).effect == "block"
    assert judge(call(), rule("allow", agents=("n?ws-*",), tools=("*.send",))).effect == "allow"
    assert judge(call("emailXsend"), rule("allow", tools=("email.send", "email.s*"))).effect == "block"


def test_a_fallback_speaks_only_where_no_other_rule_does() -> None:
    last = rule("ask", name="else", fallback=True)
    assert judge(call(to=[]), ALLOW, last).effect == "allow"
    assert judge(call("shell.run"), ALLOW, last).effect == "ask"


def test_a_failed_condition_does_not_silence_the_fallback() -> None:
    broken = rule("ask", "args.missing == 1", name="broken")
    assert judge(call(), broken, rule("block", name="else", fallback=True)).effect == "block"


@pytest.mark.parametrize(
    ("when", "told"),
    [
        ("1 +", "line 1"),
        ("true &&\n nonsense", "line 2, column 2"),
        ("tool.nmae == 'x'", "tool.nmae"),
        ("size(args)", "yields int"),
        ("'yes'", "yields string"),
        ("has(tool.name)", "has()"),
        ("session.age > 'old'", "no matching overload"),
        ("(" * 60 + "true" + ")" * 60, "limit"),
        ("true || " * 5000 + "true", "longer"),
        ("'\ud800' == ''", "surrogate"),
    ],
)
def test_a_wrong_condition_is_refused_when_saved(when: str, told: str) -> None:
    assert told in " ".join(str(problem) for problem in check_condition(when))


def test_the_refusal_names_every_rule_and_problem() -> None:
    with pytest.raises(RulesRefused) as refused:
        compile_release(
            [rule("ask", "nope", name="one", approvers=""), rule("perhaps", name="two", quorum=0)]
        )
    assert {problem.rule for problem in refused.value.problems} == {"one", "two"}
    assert len(refused.value.problems) == 4


@pytest.mark.parametrize("word", [*FACTS, *FUNCTIONS], ids=lambda word: word.name)
def test_every_documented_example_is_a_valid_condition(word: Any) -> None:
    assert check_condition(word.example) == []


def test_a_rule_reads_aloud() -> None:
    said = sentence(replace(MAIL, when="size(args.to) > 100", description="x"))
    assert (
        said
        == "ask comms (1 of them, within 15 min) when any agent calls email.send and to has a length over 100"
    )


def test_the_release_digest_depends_on_content_alone() -> None:
    assert release_digest([MAIL, ALLOW]) == release_digest([ALLOW, MAIL])
    assert release_digest([MAIL]) != release_digest([replace(MAIL, quorum=2)])
    assert release_digest([MAIL], [], {"comms": ["ada"]}) != release_digest([MAIL], [], {"comms": ["eve"]})


def test_verdict_facts_and_rules_survive_storage() -> None:
    facts = call(to=["a@x.example"] * 101)
    verdict = judge(facts, MAIL, ALLOW, rule("block", "args.nope", name="s", mode="shadow"))
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict
    assert Facts.from_json(json.loads(json.dumps(facts.to_json()))) == facts
    ending = replace(MAIL, until=NOW)
    assert RuleSpec.from_json(json.loads(json.dumps(ending.to_json()))) == ending


def test_one_release_serves_many_threads() -> None:
    compiled = compile_release([MAIL, ALLOW])
    wrong = []

    def work() -> None:
        for count in (3, 101) * 50:
            effect = decide(call(to=["a@x.example"] * count), compiled).effect
            if effect != ("ask" if count > 100 else "allow"):
                wrong.append(count)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


conditions = st.sampled_from(
    ["", "true", "false", "args.flag", "args.missing", "args.text", "args.n > 1", "args.n > 'x'"]
)


@st.composite
def rule_sets(draw: st.DrawFn) -> list[RuleSpec]:
    count = draw(st.integers(0, 6))
    return [
        rule(
            draw(st.sampled_from(["allow", "ask", "block"])),
            draw(conditions),
            name=f"r{index}",
            mode=draw(st.sampled_from(["live", "live", "shadow"])),
            tools=draw(st.sampled_from([(), ("email.*",), ("email.send",), ("other",)])),
        )
        for index in range(count)
    ]


@given(rule_sets(), conditions, st.booleans())
def test_an_added_allow_overrules_nobody(rules: list[RuleSpec], when: str, declared: bool) -> None:
    facts = call(declared=declared, flag=True, text="true", n=2)
    before, after = judge(facts, *rules), judge(facts, *rules, rule("allow", when, name="new"))
    # Only the default block, which means that nobody spoke, may become an allow.
    assert after.effect == before.effect or (before.matched == () and before.effect == "block")
    assert after.approvals == before.approvals


@given(rule_sets(), st.sampled_from(["ask", "block"]), conditions)
def test_an_added_ask_or_block_never_loosens(rules: list[RuleSpec], effect: str, when: str) -> None:
    facts = call(flag=True, text="true", n=2)
    before, after = judge(facts, *rules), judge(facts, *rules, rule(effect, when, name="new"))
    spoke = before.matched != ()
    assert STRICTNESS[after.effect] >= STRICTNESS[before.effect] or not spoke


@given(rule_sets(), st.data())
def test_an_error_is_never_milder_than_either_answer(rules: list[RuleSpec], data: st.DataObject) -> None:
    fallback = rule(data.draw(st.sampled_from(["ask", "block", "allow"])), name="zz", fallback=True)
    subject = rule(data.draw(st.sampled_from(["allow", "ask", "block"])), name="subject")
    facts = call(flag=True, text="true", n=2)

    def effect(when: str) -> int:
        return STRICTNESS[judge(facts, *rules, fallback, replace(subject, when=when)).effect]

    erred = effect("args.missing == 1")
    assert erred >= min(effect("true"), effect("false"))
    if subject.effect != "allow":
        assert erred >= effect("true")
    else:
        assert erred >= effect("false")
