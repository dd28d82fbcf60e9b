"""A suggestion among other rules: it spares its own question for its own calls, and weakens nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from approvals.weighing import Calls, edits_of
from policies import engine, facts, narrow
from policies.engine import Verdict
from policies.facts import AgentFacts, Facts, ToolFacts
from policies.rules import RuleSpec
from tests.lengths import tries

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
END = NOW + timedelta(days=1)
PAY = ToolFacts("pay", effect="write", authority=("to",), declared=True)
CONDITIONS = (
    "",
    "args.n > 1",
    "args.gone",
    "args.to == 'a'",
    "false",
    "'x' in session.labels",
    "args.to > 1",
)


def call(
    to: object = "a", n: int = 1, *, agent: str = "clerk", tool: ToolFacts = PAY, at: datetime = NOW
) -> Facts:
    return facts.build(
        args={"to": to, "n": n}, tool=tool, agent=AgentFacts(agent, mode="standard"), now=at,
        origin={"to": "user", "n": "user"},
    )  # fmt: skip


RULES = st.builds(
    RuleSpec,
    id=st.just("r"), name=st.just("r"), effect=st.sampled_from(["allow", "ask", "block"]),
    when=st.sampled_from(CONDITIONS), approvers=st.sampled_from(["g", "h"]), fallback=st.booleans(),
    agents=st.sampled_from([(), ("clerk",), ("c*",)]), tools=st.sampled_from([(), ("pay",), ("other",)]),
    mode=st.sampled_from(["live", "live", "shadow"]), until=st.sampled_from([None, None, NOW]),
)  # fmt: skip
CALLS = st.builds(
    call, to=st.sampled_from(["a", "b", 1]), n=st.integers(0, 3), agent=st.sampled_from(["clerk", "other"]),
    tool=st.sampled_from([PAY, replace(PAY, name="other"), ToolFacts("pay")]), at=st.sampled_from([NOW, END]),
)  # fmt: skip


MEANT = Calls("clerk", "pay", narrow.narrow([call()]).condition)


def judge(seen: Facts, rules: list[RuleSpec]) -> Verdict:
    return engine.decide(seen, engine.compile_release(rules))


ASKING = st.lists(
    st.builds(
        RuleSpec, id=st.just("a"), name=st.just("a"), effect=st.just("ask"), when=st.sampled_from(CONDITIONS),
        approvers=st.sampled_from(["g", "h"]),
    ),
    min_size=1, max_size=2,
)  # fmt: skip


STRICT = {"allow": 0, "ask": 1, "block": 2}


def asked_groups(verdict: Verdict) -> set[str]:
    return {wish.group for wish in verdict.approvals}


def named(rules: list[RuleSpec], letter: str) -> list[RuleSpec]:
    return [replace(rule, name=f"{letter}{n}", id=f"{letter}{n}") for n, rule in enumerate(rules)]


@settings(max_examples=tries(100), deadline=None)
@given(others=st.lists(RULES, max_size=4), asking=ASKING, fallback=st.booleans(), seen=CALLS)
def test_it_spares_its_question_and_changes_nothing_else(
    others: list[RuleSpec], asking: list[RuleSpec], fallback: bool, seen: Facts
) -> None:
    others, asking = named(others, "r"), named([replace(rule, fallback=fallback) for rule in asking], "a")
    made = [edit.after for edit in edits_of(asking, MEANT, END, name="new", about="")]
    before, after = judge(seen, [*others, *asking]), judge(seen, [*others, *made])
    spoke = {match.name for match in before.matched if not match.error}
    spared = seen == call(n=seen.args["n"]) and {rule.name for rule in asking} <= spoke
    if not spared:
        # An exception that fails counts as a match that settles nothing: then fallbacks speak too.
        failed = any(match.error for match in after.matched)
        assert failed or (after.effect, after.approvals) == (before.effect, before.approvals)
        assert STRICT[after.effect] >= STRICT[before.effect]
        assert after.effect == "block" or asked_groups(before) <= asked_groups(after)
    elif before.effect == "block":
        assert after.effect == "block"
    else:
        # Of the live asks that spoke, all but those that were edited still do.
        asked = {match.name for match in before.matched if match.effect == "ask" and match.name[0] == "r"}
        assert asked <= {match.name for match in after.matched}
        assert after.effect == ("ask" if asked else "allow")


@settings(max_examples=tries(60), deadline=None)
@given(when=st.sampled_from(CONDITIONS), fallback=st.booleans(), n=st.integers(0, 3))
def test_what_nobody_asked_about_is_not_allowed_by_it(when: str, fallback: bool, n: int) -> None:
    asking = RuleSpec(id="a", name="a", effect="ask", when=when, approvers="g", fallback=fallback)
    made = [edit.after for edit in edits_of([asking], MEANT, END, name="new", about="")]
    before, after = judge(call(n=n), [asking]), judge(call(n=n), made)
    truly = any(not match.error for match in before.matched)
    assert after.effect == ("allow" if truly else before.effect)
