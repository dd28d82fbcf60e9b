"""The narrowest condition that approved calls have in common: it holds for each of them and no other."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import engine, facts, narrow
from policies.facts import AgentFacts, Facts, SessionFacts, ToolFacts
from policies.narrow import TooWide
from policies.rules import RuleSpec
from tests.lengths import tries

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SOON = NOW + timedelta(days=30)
PAY = ToolFacts("pay", effect="write", authority=("to", "amount"), declared=True)
FREE = ToolFacts("note", effect="write", authority=(), declared=True)


def call(tool: ToolFacts = PAY, labels: tuple[str, ...] = (), **args: Any) -> Facts:
    return facts.build(
        args=args, tool=tool, agent=AgentFacts("clerk", mode="standard"), now=NOW,
        origin=dict.fromkeys(args, "user"), session=SessionFacts(labels=labels, attested=True),
    )  # fmt: skip


def holds(condition: str, seen: Facts) -> bool:
    """Whether a rule with this condition would match."""
    rule = RuleSpec(id="r", name="r", effect="allow", when=condition)
    return engine.decide(seen, engine.compile_release([rule])).effect == "allow"


def passes(calls: list[Facts], other: Facts, **about: Any) -> bool:
    found = narrow.narrow(calls, **about)
    assert all(holds(found.condition, seen) for seen in calls)
    return holds(found.condition, other)


def test_the_very_values_pass_and_no_other() -> None:
    seen = [call(to="acme", amount=5), call(to="globex", amount=7)]
    assert passes(seen, call(to="globex", amount=5))
    assert not passes(seen, call(to="casino", amount=5))


@pytest.mark.parametrize(
    ("amount", "fine"), [(0, True), (7, True), (7.5, False), (8, False), (-1, False), ("7", False)]
)
def test_a_quantity_is_bounded_by_the_largest_approved(amount: Any, fine: bool) -> None:
    assert passes([call(to="a", amount=3), call(to="a", amount=7)], call(to="a", amount=amount)) is fine


def test_a_number_that_may_be_an_account_is_no_range() -> None:
    tool = replace(PAY, authority=("account",))
    assert not passes([call(tool, account=1001), call(tool, account=1009)], call(tool, account=1005))
    with pytest.raises(TooWide, match="account"):
        narrow.narrow([call(tool, account=1000 + number) for number in range(6)])


def test_lists_hold_known_items_and_no_more_of_them() -> None:
    tool = replace(PAY, authority=("to",))
    seen = [call(tool, to=["a@x.example"]), call(tool, to=["b@x.example", "c@x.example"])]
    assert passes(seen, call(tool, to=["c@x.example", "a@x.example"]))
    for other in (["d@x.example"], ["a@x.example", "b@x.example", "c@x.example"], "a@x.example"):
        assert not passes(seen, call(tool, to=other))


def test_a_domain_is_named_only_where_it_is_the_organisations() -> None:
    tool = replace(PAY, authority=("to",))
    seen = [call(tool, to=[f"p{number}@ours.example"]) for number in range(20)]
    with pytest.raises(TooWide):
        narrow.narrow(seen, domains=["theirs.example"])
    assert passes(seen, call(tool, to=["new@ours.example"]), domains=["ours.example"])
    for other in ("p1@evil.example", "p1@ours.example.evil.example", "p1@notours.example"):
        assert not passes(seen, call(tool, to=[other]), domains=["ours.example"])


def test_values_out_of_untrusted_text_pass_only_as_they_were() -> None:
    seen = [replace(call(to="a", amount=7), authority={"to": "user", "amount": "untrusted"})]
    with pytest.raises(TooWide, match="untrusted"):
        narrow.narrow(seen)


@pytest.mark.parametrize(
    ("origin", "fine"),
    [("user", True), ("named", True), ("trusted", True), ("agent", False), ("untrusted", False)],
)
def test_origins_are_no_worse_than_those_approved(origin: str, fine: bool) -> None:
    seen = replace(call(to="a", amount=1), authority={"to": "trusted", "amount": "user"})
    other = replace(seen, authority={"to": origin, "amount": "user"})
    assert passes([seen], other) is fine


def test_an_authority_argument_that_nobody_gave_then_may_not_be_given_now() -> None:
    tool = replace(PAY, authority=("to", "bcc"))
    assert not passes([call(tool, to="a")], call(tool, to="a", bcc="spy"))


def test_without_authority_every_argument_is_one() -> None:
    assert not passes([call(FREE, code="print(1)")], call(FREE, code="print(2)"))
    assert not passes([call(FREE, code="print(1)")], call(FREE, code="print(1)", also=1))


@pytest.mark.parametrize("labels", [("untrusted",), ("injection",)])
def test_a_session_that_has_read_more_is_asked_about(labels: tuple[str, ...]) -> None:
    assert not passes([call(to="a", amount=1)], call(to="a", amount=1, labels=labels))


def test_findings_are_asked_about() -> None:
    seen = call(to="a", amount=1)
    assert not passes([seen], replace(seen, findings=({"detector": "x", "severity": "low", "why": "y"},)))


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (call(replace(PAY, effect="destructive"), to="a"), "destructive"),
        (call(ToolFacts("x"), to="a"), "declared"),
        (call(to="a", labels=("injection",)), "injection"),
        (call(body="x"), "whom"),
        (call(to="a\u202eb"), "to had"),
        (call(to="x" * 201), "to had"),
        (replace(call(to="a"), findings=({"detector": "x"},)), "found"),
    ],
)
def test_what_is_too_wide_is_said(seen: Facts, why: str) -> None:
    with pytest.raises(TooWide, match=why):
        narrow.narrow([seen])


def exempt(when: str, condition: str) -> list[RuleSpec]:
    spared = narrow.exception(condition, agent="clerk", tool="pay", end=SOON)
    return [
        RuleSpec(id="a", name="a", effect="ask", when=narrow.excepted(when, spared), approvers="g"),
        RuleSpec(id="b", name="b", effect="allow", when=condition, until=SOON, agents=("clerk",)),
    ]


def effect(rules: list[RuleSpec], seen: Facts) -> str:
    return engine.decide(seen, engine.compile_release(rules)).effect


def test_it_ends_by_itself() -> None:
    seen = call(to="a", amount=1)
    rules = exempt("", narrow.narrow([seen]).condition)
    late = [replace(seen, now=moment) for moment in (SOON - timedelta(seconds=1), SOON)]
    assert [effect(rules, moment) for moment in late] == ["allow", "ask"]


@pytest.mark.parametrize("broken", ["args.gone > 1", "args.to > 1", "domain(args.to) == 'x'"])
def test_a_condition_that_fails_still_asks_where_the_exception_holds(broken: str) -> None:
    seen = call(to="a", amount=1)
    assert effect(exempt(broken, narrow.narrow([seen]).condition), seen) == "ask"


@pytest.mark.parametrize("when", ["true // the end", "args.amount > 0 || true", "true ? true : false"])
def test_however_the_old_condition_is_written_the_exception_stays_outside(when: str) -> None:
    seen = call(to="a", amount=1)
    rules = exempt(when, narrow.narrow([seen]).condition)
    assert [effect(rules, each) for each in (seen, call(to="b", amount=1))] == ["allow", "ask"]


NAMES = st.sampled_from(["to", "amount", "in", "odd-name", "x.y", 'q"', "é"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9).map(lambda n: n or 0)
    | st.sampled_from(["a", "b@ours.example", "\\", '"', "'", "${x}", "é😀", "\u200b", "\n"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("k"), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip
CALLS = st.dictionaries(NAMES, VALUES, max_size=3)


@settings(max_examples=tries(120), deadline=None)
@given(approved=st.lists(CALLS, min_size=1, max_size=4), other=CALLS, free=st.booleans())
def test_it_holds_for_what_was_approved_and_spares_nothing_that_differs(
    approved: list[dict[str, Any]], other: dict[str, Any], free: bool
) -> None:
    tool = FREE if free else replace(PAY, authority=("to", "in", "odd-name"))
    seen = [call(tool, **args) for args in approved]
    try:
        found = narrow.narrow(seen, domains=["ours.example"])
    except TooWide:
        return
    assert all(holds(found.condition, each) for each in seen)
    if holds(found.condition, call(tool, **other)):
        # An amount may lie between, an address at home be another; everything else was seen as it is.
        for name in other if free else {"to", "in", "odd-name"} & other.keys():
            loose = name == "amount" or "@" in str(other[name]) or isinstance(other[name], list)
            assert loose or any(args.get(name, ...) == other[name] for args in approved)
