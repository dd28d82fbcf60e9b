"""Laws of rule sets, whatever is in them: a yes weakens no other's word, and what breaks never loosens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from policies import together
from policies.engine import Approval, RuleSpec, Verdict, compile_release, decide
from policies.facts import AgentFacts, Facts, SessionFacts, ToolFacts, build
from tests.lengths import tries

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
EXAMPLES = settings(max_examples=tries(60), deadline=None)
STRICTNESS = {"allow": 0, "ask": 1, "block": 2}
# From the first round, where each condition is asked alone, to those in which all are asked together.
ROUNDS = together.WORTH_JOINING + 3
ERRING = (
    "args.missing == 1",
    "args.text",
    "args.n > 'x'",
    "1 / (args.n - 2) == 1",
    "domain(args.text) == 'x.example'",
    "recipients({'to': 1}) > 0",
    "args.text.matches('(')",
    "args.missing ? true : false",
)
SOUND = (
    "", "true", "false", "args.flag", "!args.flag", "args.n > 1", "args.n > 5", "args.missing == 1 || true",
    "args.missing == 1 && false", "recipients(args) > 1", "domain(args.to[0]) == 'x.example'",
    "'untrusted' in session.labels", "has(args.missing)", "now < timestamp('2026-05-05T00:00:00Z')",
)  # fmt: skip
conditions = st.sampled_from(SOUND + ERRING)
untils = st.sampled_from([None, None, None, NOW, NOW - timedelta(days=1), NOW + timedelta(seconds=1)])
globs = st.sampled_from([(), ("email.*",), ("email.send",), ("e?ail.send", "other"), ("other",)])
facts = st.builds(
    lambda declared, labels: build(
        args={"flag": True, "text": "true", "n": 2, "to": ["a@x.example", "b@x.example"]},
        tool=ToolFacts("email.send", effect="write", authority=("to",), declared=declared),
        agent=AgentFacts("news-bot", mode="standard"), session=SessionFacts(labels=labels), now=NOW,
    ),
    st.booleans(),
    st.sampled_from([(), ("untrusted",)]),
)  # fmt: skip


@st.composite
def single(draw: st.DrawFn, name: str, effects: Sequence[str] = ("allow", "ask", "block")) -> RuleSpec:
    """Any rule at all: each field may stand in the way of each other."""
    effect, approvers = draw(st.sampled_from(effects)), draw(st.sampled_from(["ops", "board", "@user"]))
    return RuleSpec(
        id=name, name=name, effect=effect, agents=draw(st.sampled_from([(), ("news-*",), ("x",)])),
        tools=draw(globs), when=draw(conditions), approvers=approvers if effect == "ask" else "",
        quorum=1 if approvers == "@user" else draw(st.integers(1, 3)),
        step_up=draw(st.booleans()) and approvers != "@user",
        expires_after=draw(st.sampled_from([60, 900])), fallback=draw(st.sampled_from([False, False, True])),
        mode=draw(st.sampled_from(["live", "live", "live", "shadow"])),
        enabled=draw(st.sampled_from([True, True, True, False])), until=draw(untils),
    )  # fmt: skip


@st.composite
def sets(draw: st.DrawFn, most: int = 7) -> list[RuleSpec]:
    return [draw(single(f"r{number}")) for number in range(draw(st.integers(0, most)))]


def judge(seen: Facts, rules: Iterable[RuleSpec]) -> Verdict:
    """The verdict, which is the same in each round."""
    compiled = compile_release(list(rules))
    first, *later = (replace(decide(seen, compiled), micros=0) for _ in range(ROUNDS))
    assert all(verdict == first for verdict in later)
    return first


def spoken(verdict: Verdict, rules: Iterable[RuleSpec]) -> set[str]:
    """The effects of the matching rules that are no fallback."""
    last = {rule.name for rule in rules if rule.fallback}
    return {match.effect for match in verdict.matched if match.name not in last}


def asks_as_much(after: Verdict, before: Verdict) -> bool:
    return all(any(_covers(new, old) for new in after.approvals) for old in before.approvals)


def _covers(new: Approval, old: Approval) -> bool:
    return (
        new.group == old.group
        and new.quorum >= old.quorum
        and new.expires_after <= old.expires_after
        and new.step_up >= old.step_up
    )


@EXAMPLES
@given(facts, sets(), single("new", effects=["allow"]))
def test_an_added_allow_weakens_no_ask_and_no_block(
    seen: Facts, rules: list[RuleSpec], new: RuleSpec
) -> None:
    before, after = judge(seen, rules), judge(seen, [*rules, new])
    spoke = spoken(before, rules)
    if "block" in spoke:
        assert after.effect == "block"
    elif "ask" in spoke:
        assert STRICTNESS[after.effect] >= STRICTNESS["ask"]
        if after.effect == "ask":
            # A fallback may fall silent, what any other rule asked for stays.
            assert asks_as_much(after, judge(seen, [rule for rule in rules if not rule.fallback]))
    # And what loosens is the default or a fallback alone, which give way to a rule by their nature.
    if STRICTNESS[after.effect] < STRICTNESS[before.effect]:
        assert before.effect not in spoke
        assert new.name in {match.name for match in after.matched}


@EXAMPLES
@given(facts, sets(), single("new", effects=["allow"]))
def test_an_allow_that_cannot_be_evaluated_is_as_if_it_were_not_there(
    seen: Facts, rules: list[RuleSpec], new: RuleSpec
) -> None:
    broken = replace(new, when=ERRING[0])
    before, after = judge(seen, rules), judge(seen, [*rules, broken])
    assert (after.effect, after.approvals, after.matched) == (before.effect, before.approvals, before.matched)


@EXAMPLES
@given(facts, sets(), single("subject", effects=["ask", "block"]), st.sampled_from(ERRING))
def test_an_ask_or_block_that_cannot_be_evaluated_is_no_milder_than_either_answer(
    seen: Facts, rules: list[RuleSpec], subject: RuleSpec, broken: str
) -> None:
    erred, yes, no = (
        judge(seen, [*rules, replace(subject, when=when)]) for when in (broken, "true", "false")
    )
    assert STRICTNESS[erred.effect] >= STRICTNESS[yes.effect]
    # Where nobody says anything, the default is to block: an ask that errs is still somebody's word.
    assert STRICTNESS[erred.effect] >= STRICTNESS[no.effect] or not no.matched
    if erred.effect == yes.effect:
        assert asks_as_much(erred, yes)


@EXAMPLES
@given(facts, sets(), single("subject"), st.sampled_from(["disabled", "shadow", "ended", "elsewhere"]))
def test_a_rule_that_is_off_decides_nothing(
    seen: Facts, rules: list[RuleSpec], subject: RuleSpec, how: str
) -> None:
    off = {
        "disabled": {"enabled": False},
        "shadow": {"mode": "shadow"},
        "ended": {"until": NOW},
        "elsewhere": {"tools": ("other", "emailXsend")},
    }
    before, after = judge(seen, rules), judge(seen, [*rules, replace(subject, **off[how])])
    assert (after.effect, after.approvals, after.matched) == (before.effect, before.approvals, before.matched)


@EXAMPLES
@given(facts, sets(), st.randoms(use_true_random=False))
def test_the_order_of_rules_does_not_matter(seen: Facts, rules: list[RuleSpec], dice: object) -> None:
    shuffled = list(rules)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    before, after = judge(seen, rules), judge(seen, shuffled)
    assert replace(after, release="") == replace(before, release="")


@EXAMPLES
@given(facts, sets())
def test_nobody_is_let_through_but_by_a_matching_allow(seen: Facts, rules: list[RuleSpec]) -> None:
    verdict = judge(seen, rules)
    if verdict.effect != "allow":
        return
    by_name = {rule.name: rule for rule in rules}
    allowing = [by_name[match.name] for match in verdict.matched]
    assert allowing and all(rule.effect == "allow" and rule.enabled for rule in allowing)
    assert all(rule.mode == "live" and (not rule.until or rule.until > NOW) for rule in allowing)
    if not seen.tool.declared:
        assert all("email.send" in rule.tools for rule in allowing)
