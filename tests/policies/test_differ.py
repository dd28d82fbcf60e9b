"""The differ: what a reader is told, and that what it calls stricter never lets a call pass more easily."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import differ, engine, facts
from policies.differ import Diff, ItemChange
from policies.rules import RuleSpec, release_content
from policies.textdiff import compared
from policies.tooling import ToolDef
from policies.verdict import Approval, Verdict
from tests.lengths import tries

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LATER = datetime(2031, 1, 1, tzinfo=UTC)
EARLIER = datetime(2029, 1, 1, tzinfo=UTC)
ASK = RuleSpec("r", "r", "ask", approvers="comms", tools=("mail",))
ALLOW = RuleSpec("r", "r", "allow", tools=("mail",))
BLOCK = RuleSpec("r", "r", "block", tools=("mail",))


def content(*rules: RuleSpec, tools: tuple[ToolDef, ...] = (), detectors: tuple[str, ...] = ()) -> Any:
    groups: dict[str, list[str]] = {rule.approvers: [] for rule in rules if rule.approvers}
    told = [tool.to_json() for tool in tools]
    return release_content(rules=rules, tools=told, groups=groups, detectors=detectors)


def compare(before: list[RuleSpec], after: list[RuleSpec]) -> Diff:
    return differ.compare(content(*before), content(*after))


def change(was: RuleSpec, now: RuleSpec) -> ItemChange:
    (item,) = [item for item in compare([was], [now]).items if item.kind == "rule"]
    return item


def test_equal_releases_differ_in_nothing() -> None:
    assert compare([ASK, replace(ALLOW, name="a")], [replace(ALLOW, name="a"), ASK]) == Diff()


def test_each_rule_is_read_aloud_before_and_after() -> None:
    found = change(ASK, replace(ASK, quorum=2))
    assert (found.before, found.after) == (
        "ask comms (1 of them, within 15 min) when any agent calls mail",
        "ask comms (2 of them, within 15 min) when any agent calls mail",
    )


def test_each_field_says_what_it_was_and_is() -> None:
    (field,) = change(ASK, replace(ASK, expires_after=7200)).fields
    assert (field.name, field.before, field.after, field.lean) == (
        "expires_after",
        "15 min",
        "2 hours",
        "looser",
    )


@pytest.mark.parametrize(
    ("was", "now", "lean"),
    [(None, ("a.x.example",), "stricter"), (("a.x.example",), None, "looser"),
     (("a.x.example",), (), "stricter"), (("a.x.example",), ("b.x.example",), "either")],
)  # fmt: skip
def test_what_a_rule_leaves_of_egress_leans(was: Any, now: Any, lean: str) -> None:
    found = change(replace(ALLOW, egress=was), replace(ALLOW, egress=now))
    assert [(field.name, field.lean) for field in found.fields] == [("egress", lean)]
    said = "all that its tool lists" if now is None else ", ".join(now) or "nothing at all"
    assert found.fields[0].after == said


def test_a_changed_condition_shows_the_word_that_changed() -> None:
    was, now = (replace(ALLOW, when=f"args.amount < {limit} && has(args.to)") for limit in (100, 1000))
    (field,) = change(was, now).fields
    assert [(piece.sign, piece.text) for piece in field.pieces] == [
        ("=", "args.amount < "),
        ("-", "100"),
        ("+", "1000"),
        ("=", " && has(args.to)"),
    ]


def test_a_condition_that_was_written_anew_is_not_torn_to_pieces() -> None:
    was, now = '"injection" in session.labels && (tool.sends == "external")', "args.x == 1"
    assert [(piece.sign, piece.text) for piece in compared(was, now)] == [("-", was), ("+", now)]


def test_what_a_release_of_an_older_version_does_not_know_has_its_default() -> None:
    older = content(ASK)
    older["rules"][0].pop("step_up")
    assert differ.compare(older, content(ASK)).items == ()


# Which way it leans


@pytest.mark.parametrize(("rule", "lean"), [(ALLOW, "looser"), (BLOCK, "stricter"), (ASK, "either")])
def test_a_new_rule(rule: RuleSpec, lean: str) -> None:
    assert compare([], [rule]).lean == lean


@pytest.mark.parametrize(("rule", "lean"), [(ALLOW, "stricter"), (BLOCK, "looser"), (ASK, "either")])
def test_a_rule_that_goes_or_is_switched_off_or_put_in_shadow(rule: RuleSpec, lean: str) -> None:
    gone = [compare([rule], []), compare([rule], [replace(rule, enabled=False)])]
    assert {found.lean for found in [*gone, compare([rule], [replace(rule, mode="shadow")])]} == {lean}


def test_what_does_not_hold_changes_nothing() -> None:
    idle = replace(ALLOW, enabled=False)
    assert change(idle, replace(idle, tools=(), when="")).lean == "same"


@pytest.mark.parametrize(
    ("was", "now", "lean"),
    [
        (ALLOW, replace(ALLOW, description="so"), "same"),
        (ALLOW, replace(ALLOW, when="args.x == 1"), "stricter"),
        (BLOCK, replace(BLOCK, when="args.x == 1"), "looser"),
        (replace(ALLOW, when="args.x == 1"), replace(ALLOW, when="args.x == 2"), "either"),
        (ALLOW, replace(ALLOW, tools=("mail", "x*")), "looser"),
        (ALLOW, replace(ALLOW, tools=()), "looser"),
        (replace(ALLOW, tools=()), ALLOW, "either"),
        (BLOCK, replace(BLOCK, agents=("a",)), "looser"),
        (ALLOW, replace(ALLOW, agents=("a",)), "stricter"),
        (ALLOW, replace(ALLOW, until=LATER), "stricter"),
        (BLOCK, replace(BLOCK, until=LATER), "looser"),
        (ASK, replace(ASK, quorum=2), "stricter"),
        (replace(ASK, quorum=2), ASK, "looser"),
        (ASK, replace(ASK, step_up=True), "stricter"),
        (ASK, replace(ASK, approvers="others"), "either"),
        (ASK, replace(ASK, quorum=2, expires_after=9000), "either"),
        (ALLOW, replace(ASK, quorum=2), "stricter"),
        (replace(ALLOW, when="args.x"), replace(ASK, when="args.x"), "either"),
        (ASK, ALLOW, "looser"),
        (ASK, BLOCK, "stricter"),
        (BLOCK, ALLOW, "looser"),
        (BLOCK, replace(BLOCK, fallback=True), "looser"),
        (ALLOW, replace(ALLOW, fallback=True), "stricter"),
    ],
)
def test_a_changed_rule(was: RuleSpec, now: RuleSpec, lean: str) -> None:
    assert change(was, now).lean == lean


@pytest.mark.parametrize(
    ("field", "old", "new", "lean"),
    [
        ("effect", "write", "read", "looser"),
        ("effect", "read", "destructive", "either"),
        ("sends", "external", "none", "looser"),
        ("output", "untrusted", "trusted", "looser"),
        ("returns", ("private",), (), "looser"),
        ("authority", ("to",), ("to", "cc"), "either"),
        ("summary", "a", "b", "same"),
        ("parameters", {"type": "object"}, {"type": "object", "properties": {}}, "either"),
    ],
)
def test_a_changed_tool(field: str, old: Any, new: Any, lean: str) -> None:
    was, now = (ToolDef(name="mail", **{field: value}) for value in (old, new))
    (item,) = differ.compare(content(tools=(was,)), content(tools=(now,))).items
    assert (item.kind, item.lean, [each.name for each in item.fields]) == ("tool", lean, [field])


def test_a_detector_that_is_gone_is_looser() -> None:
    assert differ.compare(content(detectors=("secrets",)), content()).lean == "looser"


# What it promises


RULES = st.builds(
    RuleSpec,
    id=st.just("x"),
    name=st.just("x"),
    effect=st.sampled_from(["allow", "ask", "block"]),
    agents=st.sampled_from([(), ("a*",), ("ann",), ("ann", "bob")]),
    tools=st.sampled_from([(), ("*",), ("m*",), ("mail",), ("mail", "m*"), ("mail", "notes")]),
    when=st.sampled_from(["", "args.n > 1", "args.n > 2", "args.missing == 1", "true"]),
    approvers=st.sampled_from(["comms", "finance"]),
    quorum=st.integers(1, 2),
    expires_after=st.sampled_from([60, 900]),
    step_up=st.booleans(),
    fallback=st.booleans(),
    mode=st.sampled_from(["live", "live", "shadow"]),
    enabled=st.sampled_from([True, True, False]),
    until=st.sampled_from([None, EARLIER, LATER]),
    egress=st.sampled_from([None, None, (), ("a.example",), ("a.example", "b.example")]),
)
TOOLS = {name: ToolDef(name=name).facts() for name in ("mail", "notes")}
CALLS = [
    facts.build(
        args={"n": number}, agent=facts.AgentFacts(agent, mode="standard"), session=facts.SessionFacts(),
        tool=TOOLS.get(tool) or ToolDef.undeclared(tool).facts(), now=NOW,
    )
    for number in (1, 2, 3) for agent in ("ann", "bob") for tool in ("mail", "notes", "mystery")
]  # fmt: skip
UNDECLARED_MAIL = facts.build(
    args={"n": 3}, agent=facts.AgentFacts("ann", mode="standard"), session=facts.SessionFacts(),
    tool=ToolDef.undeclared("mail").facts(), now=NOW,
)  # fmt: skip
RANK = {"allow": 0, "ask": 1, "block": 2}


def named(rules: list[RuleSpec]) -> list[RuleSpec]:
    return [sound(replace(rule, id=f"r{at}", name=f"r{at}")) for at, rule in enumerate(rules)]


def covers(wishes: tuple[Approval, ...], wish: Approval) -> bool:
    return any(
        other.group == wish.group
        and other.quorum >= wish.quorum
        and other.step_up >= wish.step_up
        and other.expires_after <= wish.expires_after
        for other in wishes
    )


def reaches(verdict: Verdict) -> set[str]:
    return {"anything", "a.example", "b.example"} if verdict.egress is None else set(verdict.egress)


def sound(rule: RuleSpec) -> RuleSpec:
    """What blocks names no egress."""
    return replace(rule, egress=None) if rule.effect == "block" else rule


def easier(before: Verdict, after: Verdict) -> bool:
    """Whether a call passes more easily: a weaker effect, fewer people asked, or more that it may reach."""
    if "block" not in (before.effect, after.effect) and reaches(after) - reaches(before):
        return True
    if before.effect == after.effect == "ask":
        return not all(covers(after.approvals, wish) for wish in before.approvals)
    return RANK[after.effect] < RANK[before.effect]


def some_call_passes_more_easily(before: list[RuleSpec], after: list[RuleSpec]) -> bool:
    one, other = engine.compile_release(before), engine.compile_release(after)
    calls = [*CALLS, UNDECLARED_MAIL]
    return any(easier(engine.decide(call, one), engine.decide(call, other)) for call in calls)


@settings(max_examples=tries(60), deadline=None)
@given(others=st.lists(RULES, max_size=3), was=RULES, changes=st.data())
def test_what_is_called_stricter_or_the_same_lets_nothing_pass_more_easily(
    others: list[RuleSpec], was: RuleSpec, changes: Any
) -> None:
    """One rule among others comes, goes or changes in one or two fields."""
    drawn = changes.draw(RULES)
    fields = changes.draw(st.sets(st.sampled_from(list(vars(drawn))), min_size=1, max_size=2))
    now = sound(replace(was, **{field: getattr(drawn, field) for field in fields}))
    was = sound(was)
    rest = named(others)
    for before, after in ([[was], [now]], [[], [now]], [[was], []]):
        if compare([*rest, *before], [*rest, *after]).lean in (differ.STRICTER, differ.SAME):
            assert not some_call_passes_more_easily([*rest, *before], [*rest, *after])


@given(st.text("ab <&|'\"(1", max_size=60), st.text("ab <&|'\"(1", max_size=60))
def test_leaving_out_one_side_gives_the_other_back(before: str, after: str) -> None:
    pieces = compared(before, after)
    assert (
        "".join(piece.text for piece in pieces if piece.sign != "+"),
        "".join(piece.text for piece in pieces if piece.sign != "-"),
    ) == (before, after)


def test_two_long_texts_are_compared_without_delay() -> None:
    before, after = (" ".join(f"{letter}{number}" for number in range(30_000)) for letter in "ab")
    assert [piece.sign for piece in compared(before, after)] == ["-", "+"]
