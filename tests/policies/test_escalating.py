"""Steps of escalation and separate duties, as rules hold them, read them aloud and combine them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import escalating, world
from policies.approvers import NOBODY, Reach, shortfall
from policies.escalating import Step
from policies.leaning import EITHER, LOOSER, STRICTER, rule_field
from policies.models import Release, Rule
from policies.rules import RuleSpec, problems_of, sentence
from policies.verdict import Approval
from policies.world import WorldRefused

LEADS, BOARD = Step(600, "leads"), Step(1800, "board")
STEPS = st.lists(st.builds(Step, st.integers(1, 5000), st.sampled_from("abcd")), unique_by=lambda s: s.to)
WORLD = """
tools:
  - {name: pay, runs: agent, effect: write, output: trusted, sends: none, parameters: {type: object}}
rules:
  - name: pays
    effect: ask
    tools: [pay]
    approvers: finance
    expires_after: 1h
    separate_duties: true
    escalate: [{after: 30m, to: board}, {after: 10m, to: leads}]
"""


def rule(*steps: Step, **more: object) -> RuleSpec:
    about: dict[str, object] = {"effect": "ask", "approvers": "finance", "expires_after": 3600, **more}
    return RuleSpec(id="r", name="r", escalate=steps, **about)  # type: ignore[arg-type]


def test_it_is_read_aloud() -> None:
    said = sentence(rule(LEADS, BOARD, separate_duties=True))
    assert said.startswith(
        "ask finance (1 of them, within 1 hour, not only the agent's owner or whoever started its session;"
        " after 10 min also leads; after 30 min also board) when"
    )


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (rule(Step(3600, "leads")), "before it expires"),
        (rule(Step(0, "leads")), "before it expires"),
        (rule(Step(60, "finance")), "another group"),
        (rule(LEADS, Step(900, "leads")), "another group"),
        (rule(Step(60, "@user")), "to a group"),
        (rule(LEADS, approvers="@user"), "nobody else can answer"),
        (rule(separate_duties=True, approvers="@user"), "cannot be separated"),
        (rule(*[Step(60 + at, f"g{at}") for at in range(6)]), "at most 5"),
    ],
)
def test_what_makes_no_sense_is_refused(found: RuleSpec, why: str) -> None:
    assert any(why in problem for problem in problems_of(found))


def test_a_rule_without_them_is_written_as_it_always_was() -> None:
    assert not {"escalate", "separate_duties"} & rule().to_json().keys()
    assert not {"escalate", "separate_duties"} & Approval("g", 1, "r", 900).to_json().keys()


@given(STEPS, st.booleans())
def test_what_is_written_is_read_again(steps: list[Step], separate: bool) -> None:
    found = rule(*sorted(steps, key=lambda s: (s.after, s.to)), separate_duties=separate)
    assert RuleSpec.from_json(found.to_json()) == found
    asked = Approval("g", 1, "r", 900, separate_duties=separate, escalate=found.escalate)
    assert Approval.from_json(asked.to_json()) == asked


@given(st.lists(STEPS, min_size=1, max_size=4), st.integers(1, 5000))
def test_together_rules_let_in_nobody_whom_one_keeps_out(wishes: list[list[Step]], expires: int) -> None:
    for step in escalating.joined(wishes, expires_after=expires):
        assert step.after < expires
        for wish in wishes:
            assert any(each.to == step.to and each.after <= step.after for each in wish)


@pytest.mark.parametrize(
    "text", ["10m leads", "after 10m to leads", " AFTER  10m  TO leads ", "10m leads\n\n"]
)
def test_a_line_of_the_form_is_a_step(text: str) -> None:
    assert escalating.lines(text) == [("10m", "leads")]


def test_a_group_of_several_words_is_one_group() -> None:
    assert escalating.lines("10m risk and audit") == [("10m", "risk and audit")]


@pytest.mark.parametrize(
    ("before", "after", "lean"),
    [
        ((), (LEADS,), LOOSER),
        ((LEADS,), (), STRICTER),
        ((LEADS,), (Step(60, "leads"),), LOOSER),
        ((LEADS,), (BOARD,), EITHER),
    ],
)
def test_which_way_a_change_leans(before: tuple[Step, ...], after: tuple[Step, ...], lean: str) -> None:
    assert rule_field("escalate", rule(*before), rule(*after)) == lean
    assert rule_field("separate_duties", rule(), rule(separate_duties=True)) == STRICTER


def test_who_cannot_answer_is_said() -> None:
    one, away = Reach(frozenset({"ada"}), frozenset({"ada"})), Reach(frozenset({"ada"}), frozenset())
    assert shortfall("g", 1, NOBODY).startswith("Nobody of g")
    assert shortfall("g", 2, one) == "2 of g are needed, and 1 person is in it."
    assert "away" in shortfall("g", 1, away)
    assert shortfall("g", 1, one) == ""
    assert "never alone" in shortfall("g", 1, one, separate=True)


@pytest.mark.django_db
def test_a_world_file_says_it_and_a_dump_says_it_again() -> None:
    report = world.apply(WORLD, by="tests")
    assert "group leads: created" in report.changes
    assert world.apply(world.dump(), by="tests").changes == []
    assert [step["to"] for step in Rule.objects.get().escalate] == ["leads", "board"]
    assert '"separate_duties":true' in Release.objects.latest("id").content


@pytest.mark.django_db
@pytest.mark.parametrize(
    "step", ["{after: 2h, to: leads}", "{after: 10m}", "10m leads", "{after: 5, to: leads}"]
)
def test_a_wrong_step_refuses_the_file(step: str) -> None:
    with pytest.raises(WorldRefused):
        world.apply(WORLD.replace("{after: 30m, to: board}", step), by="tests")
