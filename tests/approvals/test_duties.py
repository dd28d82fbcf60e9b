"""Separation of duties: who has a stake in a call approves it only beside somebody who has none."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from approvals import decisions, duties, starting
from approvals.models import Action
from policies import absences, world
from policies.models import Agent, User
from tests.cast import Cast, person
from traces.models import Session

RULES = """
rules:
  - name: orders
    effect: ask
    tools: [order.place]
    approvers: finance
    separate_duties: true
"""


def approve(action: Action, user: User) -> decisions.Decision:
    return decisions.approve(action_id=action.pk, user=user, digest=action.digest, channel="rest")


def order(cast: Cast, **about: str) -> Action:
    session = cast.session(**about)
    return cast.propose("order.place", {"supplier": "Acme", "amount": 5}, session=session)


@pytest.fixture
def apart(cast: Cast) -> Cast:
    world.apply(RULES, by="tests")
    return cast


def test_somebody_without_a_stake_approves_alone(apart: Cast) -> None:
    assert approve(order(apart, user="dana"), apart.second).effect == "approved"


def test_whoever_started_the_session_never_suffices(apart: Cast) -> None:
    action = order(apart, user="ben")
    assert approve(action, apart.second).message == (
        "Your vote counts. Still needed: 1 of finance, somebody other than ben."
    )
    assert approve(action, apart.approver).effect == "approved"


def test_the_owner_never_suffices(apart: Cast) -> None:
    Agent.objects.update(owner=apart.second)
    action = order(apart)
    assert approve(action, apart.second).effect == "counted"
    assert duties.why(action, apart.second) == "you own scout"


@pytest.mark.parametrize("name", ["Ben@Example.com", " BEN ", "ben"])
def test_an_address_or_another_case_means_the_same_person(apart: Cast, name: str) -> None:
    User.objects.filter(username="ben").update(email="ben@example.com")
    action = order(apart, user=name)
    assert approve(action, User.objects.get(username="ben")).effect == "counted"


def test_who_started_the_parent_session_started_this_one(apart: Cast) -> None:
    parent = apart.session(user="ben")
    action = order(apart, parent=str(parent.pk))
    assert approve(action, apart.second).effect == "counted"


def test_two_with_a_stake_are_not_enough(apart: Cast) -> None:
    Agent.objects.update(owner=apart.approver)
    action = order(apart, user="ben")
    assert approve(action, apart.approver).effect == "counted"
    assert "ada or ben" in approve(action, apart.second).message
    assert approve(action, person("cleo", "finance")).effect == "approved"


def test_where_nobody_vouches_for_who_started_it_two_people_are_needed(apart: Cast) -> None:
    session = apart.session(attested=False, user="dana")
    action = apart.propose("order.place", {"supplier": "Acme", "amount": 5}, session=session)
    assert "1 of finance" in approve(action, apart.second).message
    assert any("Nobody vouches" in note for note in duties.notes(action))
    assert approve(action, apart.approver).effect == "approved"


def test_a_new_owner_has_a_stake_when_it_starts(apart: Cast) -> None:
    action = order(apart, user="dana")
    approve(action, apart.second)
    Agent.objects.update(owner=apart.second)
    outcome = starting.start(action_id=action.pk, worker="tests")
    assert isinstance(outcome, starting.Dropped) and "other than ben" in outcome.why
    action.refresh_from_db()
    assert action.state == "pending"


def test_a_session_that_is_renamed_in_the_database_helps_nobody(apart: Cast) -> None:
    action = order(apart, user="ben")
    Session.objects.filter(pk=action.session_id).update(user="nobody")
    assert approve(action, apart.second).effect == "counted"


def test_an_approval_that_is_stripped_of_its_names_starts_nothing(apart: Cast) -> None:
    action = order(apart, user="ben")
    plain = [{**item, "interested": []} for item in action.approvals]
    Action.objects.filter(pk=action.pk).update(approvals_json=json.dumps(plain))
    Session.objects.filter(pk=action.session_id).update(user="nobody")
    approve(action, apart.second)
    outcome = starting.start(action_id=action.pk, worker="tests")
    assert isinstance(outcome, starting.Dropped) and "altered outside" in outcome.why


def test_the_editor_and_the_starter_do_not_vouch_for_each_other(apart: Cast) -> None:
    action = order(apart, user="ben")
    decisions.edit(
        action_id=action.pk, user=apart.approver, digest=action.digest, args={**action.args, "amount": 6}
    )
    action.refresh_from_db()
    assert approve(action, apart.second).effect == "counted"
    assert approve(action, person("cleo", "finance")).effect == "approved"


def test_without_the_rules_wish_the_owner_may_approve(cast: Cast) -> None:
    Agent.objects.update(owner=cast.approver)
    assert approve(cast.mass_mail(), cast.approver).effect == "approved"


def test_whoever_is_named_is_sealed_with_the_question(apart: Cast) -> None:
    assert order(apart, user="dana").approvals[0]["interested"] == ["dana"]


def test_whoever_vouched_for_an_edit_and_left_vouches_no_more(cast: Cast) -> None:
    action = cast.mass_mail()
    args = {**action.args, "to": ["other@example.com"]}
    decisions.edit(action_id=action.pk, user=cast.approver, digest=action.digest, args=args, channel="rest")
    action.refresh_from_db()
    cleo = person("cleo", "comms")
    assert approve(action, cleo).effect == "approved"
    cleo.groups.clear()
    outcome = starting.start(action_id=action.pk, worker="tests")
    assert isinstance(outcome, starting.Dropped)


def test_who_stands_in_for_the_starter_does_not_suffice_either(apart: Cast) -> None:
    zoe, until = person("zoe", "archive"), timezone.now() + timedelta(days=1)
    absences.go_away(user=apart.second, since=None, until=until, stand_in=zoe, by="user:1")
    action = order(apart, user="ben")
    zoe = User.objects.get(pk=zoe.pk)
    assert duties.why(action, zoe) == "you stand in for ben, who has a stake in it"
    assert approve(action, zoe).effect == "counted"
    assert approve(action, apart.approver).effect == "approved"


def test_who_stands_in_for_the_editor_does_not_vouch_for_the_edit(cast: Cast) -> None:
    zoe, until = person("zoe", "archive"), timezone.now() + timedelta(days=1)
    absences.go_away(user=cast.approver, since=None, until=until, stand_in=zoe, by="user:1")
    action = cast.mass_mail()
    args = {**action.args, "to": ["other@example.com"]}
    decisions.edit(action_id=action.pk, user=cast.approver, digest=action.digest, args=args, channel="rest")
    action.refresh_from_db()
    assert approve(action, User.objects.get(pk=zoe.pk)).effect == "counted"
    assert approve(action, person("cleo", "comms")).effect == "approved"


def test_standing_in_elsewhere_makes_no_stake_here(apart: Cast) -> None:
    both = person("bea", "finance", "ops")
    zoe, until = person("zoe", "finance"), timezone.now() + timedelta(days=1)
    absences.go_away(user=both, since=None, until=until, stand_in=zoe, by="user:1")
    action = order(apart, user="bea")
    assert approve(action, User.objects.get(pk=zoe.pk)).effect == "approved"
