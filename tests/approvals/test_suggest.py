"""Suggestions: from decisions made alike a narrow rule, offered and never applied by itself."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from approvals import alike, decisions, suggest
from approvals.growth_models import Suggestion
from approvals.models import Action
from policies import releases, restoring, world
from policies.models import Release, Rule, User
from tests.cast import Cast, person
from traces.models import Entry
from traces.problems import Refused

pytestmark = pytest.mark.django_db
WORLD = """
tools:
  - name: crm.update
    effect: write
    output: trusted
    sends: none
    authority: [customer]
    parameters:
      type: object
      properties: {customer: {type: string}, note: {type: string}}
      required: [customer]
rules:
  - {name: crm, effect: ask, tools: [crm.update], approvers: comms}
"""


@pytest.fixture(autouse=True)
def three_are_enough(settings: Any) -> None:
    settings.AGENTSEC_SUGGEST = {"approvals": 3, "days": 90, "ends_after": 30}


@pytest.fixture
def crm(cast: Cast) -> Cast:
    world.apply(WORLD, by="tests")
    return cast


@pytest.fixture
def editor(crm: Cast) -> User:
    return person("edith", roles=("editor",))


def ask(cast: Cast, customer: str = "Acme", **more: str) -> Action:
    return cast.propose("crm.update", {"customer": customer, **more})


def approve(cast: Cast, times: int = 3, customer: str = "Acme") -> list[Action]:
    found = [ask(cast, customer, note=f"note {number}") for number in range(times)]
    for action in found:
        decisions.approve(action_id=action.pk, user=cast.approver, digest=action.digest)
    return found


def offered() -> Suggestion:
    suggest.find()
    return Suggestion.objects.get(state="offered")


def drafted(row: Suggestion, user: User, days: int = 30) -> Suggestion:
    return suggest.draft(suggestion_id=row.pk, digest=row.digest, user=user, days=days)


def why_not() -> str:
    passed = suggest.find()
    assert not Suggestion.objects.exists()
    return "; ".join(item.why for item in passed)


def test_calls_approved_alike_are_offered_as_a_rule_and_change_nothing(crm: Cast) -> None:
    approve(crm)
    before = releases.draft_content()
    row = offered()
    assert (row.tool, row.rules, row.evidence["people"]) == ("crm.update", ["crm"], ["ada"])
    assert releases.draft_content() == before and ask(crm).state == "pending"


def test_one_too_few_is_not_enough(crm: Cast) -> None:
    approve(crm, times=2)
    assert suggest.find() == [] and not Suggestion.objects.exists()


def test_a_rejection_among_them_ends_it(crm: Cast) -> None:
    approve(crm)
    offered()
    other = ask(crm, "Globex")
    decisions.reject(action_id=other.pk, user=crm.approver, digest=other.digest, comment="no")
    suggest.find()
    assert not Suggestion.objects.exists()


def test_an_edit_among_them_ends_it(crm: Cast) -> None:
    approve(crm)
    other = ask(crm)
    decisions.edit(action_id=other.pk, user=crm.approver, digest=other.digest, args={"customer": "Globex"})
    suggest.find()
    assert not Suggestion.objects.exists()


def test_a_call_rejected_under_another_rule_that_it_would_let_pass_ends_it(crm: Cast) -> None:
    approve(crm)
    world.apply(
        "rules:\n  - {name: crm, effect: allow, tools: [crm.update]}\n"
        "  - {name: odd, effect: ask, tools: [crm.update], approvers: comms}\n",
        by="tests",
    )
    other = ask(crm)
    decisions.reject(action_id=other.pk, user=crm.approver, digest=other.digest, comment="no")
    world.apply(WORLD + "  - {name: odd, absent: true}\n", by="tests")
    assert "rejected" in why_not()


def test_once_drafted_and_published_the_question_is_spared_and_no_other(crm: Cast, editor: User) -> None:
    approve(crm)
    drafted(offered(), editor)
    assert ask(crm).state == "pending"
    releases.publish(by="tests")
    assert (ask(crm, note="anything").state, ask(crm, "Globex").state) == ("ready", "pending")


def test_it_ends_by_itself(crm: Cast, editor: User, monkeypatch: pytest.MonkeyPatch) -> None:
    approve(crm)
    row = drafted(offered(), editor, days=1)
    releases.publish(by="tests")
    monkeypatch.setattr(timezone, "now", lambda: row.ends_at)
    assert ask(crm).state == "pending"


def test_blocks_and_other_asks_stand(crm: Cast, editor: User) -> None:
    approve(crm)
    drafted(offered(), editor)
    world.apply(
        "rules:\n  - {name: never, effect: block, tools: [crm.update], when: args.note == 'no'}\n"
        "  - {name: too, effect: ask, tools: [crm.update], when: args.note == 'ask', approvers: finance}\n",
        by="tests",
    )
    states = [ask(crm, note=note).state for note in ("no", "ask", "go")]
    assert states == ["blocked", "pending", "ready"]


def test_a_fallback_question_is_spared_and_a_stricter_fallback_stands(crm: Cast, editor: User) -> None:
    fallbacks = (
        "rules:\n  - {name: crm, effect: ask, tools: [crm.update], approvers: comms, fallback: true}\n"
        "  - {name: last, effect: block, tools: [crm.update], when: has(args.note) && args.note == 'no', "
        "fallback: true}\n"
    )
    world.apply(fallbacks, by="tests")
    approve(crm)
    row = drafted(offered(), editor)
    releases.publish(by="tests")
    assert Rule.objects.get(name=row.rule).fallback
    assert [ask(crm, note=note).state for note in ("no", "go")] == ["blocked", "ready"]


def test_the_draft_names_both_edits_in_the_log(crm: Cast, editor: User) -> None:
    approve(crm)
    row = drafted(offered(), editor)
    kinds = list(Entry.objects.order_by("-id").values_list("kind", flat=True)[:3])
    assert kinds == ["suggestion.drafted", "policy.drafted", "policy.drafted"]
    assert releases.changes(releases.draft_content()) == ["rule crm: when changed", f"rule {row.rule}: added"]
    assert Release.objects.count() == 2


def test_only_a_policy_editor_makes_it_a_draft(crm: Cast) -> None:
    approve(crm)
    row = offered()
    for user in (crm.approver, crm.administrator, crm.auditor):
        with pytest.raises(Refused, match="may not"):
            drafted(row, user)


def test_what_was_not_seen_is_not_decided(crm: Cast, editor: User) -> None:
    approve(crm)
    row = offered()
    approve(crm, customer="Globex")
    with pytest.raises(Refused, match="changed"):
        drafted(row, editor)
    suggest.find()
    with pytest.raises(Refused, match="changed"):
        drafted(row, editor)


def test_a_rejection_after_it_was_offered_stops_the_draft(crm: Cast, editor: User) -> None:
    approve(crm)
    row, other = offered(), ask(crm)
    decisions.reject(action_id=other.pk, user=crm.approver, digest=other.digest, comment="no")
    with pytest.raises(Refused, match="do not speak"):
        drafted(row, editor)
    assert releases.changes(releases.draft_content()) == []


def test_it_ends_within_ninety_days(crm: Cast, editor: User) -> None:
    approve(crm)
    row = offered()
    for days in (0, -1, 91):
        with pytest.raises(Refused, match="1 to 90"):
            drafted(row, editor, days=days)


def test_it_is_drafted_once(crm: Cast, editor: User) -> None:
    approve(crm)
    row = offered()
    drafted(row, editor)
    with pytest.raises(Refused, match="already drafted"):
        drafted(row, editor)


def test_what_was_dismissed_stays_so_until_somebody_offers_it_again(crm: Cast, editor: User) -> None:
    approve(crm)
    row = offered()
    suggest.dismiss(suggestion_id=row.pk, digest=row.digest, user=editor, reason="I want to see them")
    approve(crm, times=1)
    suggest.find()
    assert [item.state for item in Suggestion.objects.all()] == ["dismissed"]
    suggest.offer_again(suggestion_id=row.pk, user=editor)
    assert offered().state == "offered"
    assert Entry.objects.filter(kind__in=["suggestion.dismissed", "suggestion.reopened"]).count() == 2


def test_after_its_end_it_takes_new_decisions_to_be_offered_again(
    crm: Cast, editor: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    approve(crm)
    row = drafted(offered(), editor, days=1)
    releases.publish(by="tests")
    later = timezone.now() + timedelta(days=2)
    monkeypatch.setattr(timezone, "now", lambda: later)
    suggest.find()
    row.refresh_from_db()
    assert row.state == "drafted"
    approve(crm)
    suggest.find()
    row.refresh_from_db()
    assert (row.state, row.decided_by, row.rule) == ("offered", "", "")


def test_a_rollback_takes_all_of_it_back_and_it_may_be_offered_again(crm: Cast, editor: User) -> None:
    before = releases.current().release_id
    approve(crm)
    row = drafted(offered(), editor)
    releases.publish(by="tests")
    assert ask(crm).state == "ready"
    restoring.roll_back(release_id=before, by="tests")
    assert ask(crm).state == "pending" and not Rule.objects.filter(name=row.rule).exists()
    assert offered().pk == row.pk


def test_decisions_of_long_ago_count_no_more(crm: Cast) -> None:
    old = [action.pk for action in approve(crm)]
    Action.objects.filter(pk__in=old).update(created_at=timezone.now() - timedelta(days=91))
    assert suggest.find() == [] and not Suggestion.objects.exists()


def test_a_rule_that_wants_step_up_is_never_spared(crm: Cast) -> None:
    approve(crm)
    Rule.objects.filter(name="crm").update(step_up=True)
    assert "present" in why_not()


def test_a_rule_that_asks_no_more_needs_no_exception(crm: Cast) -> None:
    approve(crm)
    Rule.objects.filter(name="crm").update(enabled=False)
    assert "only 0" in why_not()


def test_a_case_that_says_ask_stands_against_it(crm: Cast) -> None:
    for _ in range(3):
        session = crm.session(attested=False)
        action = crm.propose("crm.update", {"customer": "Acme"}, session=session)
        decisions.approve(action_id=action.pk, user=crm.approver, digest=action.digest)
    case = "{name: always, agent: scout, tool: crm.update, args: {customer: Acme}, expect: ask}"
    world.apply(f"cases:\n  - {case}\n", by="tests")
    assert "always" in why_not()


def test_a_vote_taken_back_is_no_approval(crm: Cast) -> None:
    found = approve(crm)
    decisions.undo(action_id=found[0].pk, user=crm.approver)
    assert suggest.find() == [] and not Suggestion.objects.exists()


def test_the_backtest_is_of_this_suggestion_alone(crm: Cast) -> None:
    approve(crm)
    ask(crm, "Globex"), crm.deploy()
    told = offered().evidence["difference"]
    assert (told["judged"], told["same"]) == (4, 1)
    assert [group[:3] for group in told["groups"]] == [["ask", "allow", False]]
    assert json.dumps(told)


def test_the_card_tells_how_like_calls_were_decided(crm: Cast) -> None:
    approve(crm)
    other = ask(crm, "Globex")
    decisions.reject(action_id=other.pk, user=crm.approver, digest=other.digest, comment="no")
    told = alike.told(ask(crm, "Initech"))
    assert told is not None and (told.approved, told.rejected, told.edited) == (3, 1, 0)
    assert alike.told(crm.deploy()) is None
