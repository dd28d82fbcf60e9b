"""Another group may answer for the one that is asked: more people who may, never fewer who must."""

from __future__ import annotations

import pytest
from django.db import transaction

from approvals import decisions, queries, starting, states, widening
from approvals.models import Action, Vote, Widening
from policies.models import User
from tests.cast import Cast, person
from traces.ids import uuid7
from traces.models import Entry
from traces.problems import Refused


def approve(action: Action, user: User) -> decisions.Decision:
    return decisions.approve(action_id=action.pk, user=user, digest=action.digest, channel="rest")


def widen(action: Action, group: str = "comms", to: str = "leads", why: str = "delegated") -> Action:
    with transaction.atomic():
        locked = states.lock(action.pk)
        widening.widen(locked, group=group, to=to, why=why, actor="user:1", body={"reason": "on a train"})
    return locked


def test_a_member_of_the_other_group_now_sees_and_decides_it(cast: Cast) -> None:
    lead = person("lea", "leads")
    action = cast.mass_mail()
    assert not queries.inbox(lead).exists()
    widen(action)
    assert queries.inbox(lead).get() == action
    assert approve(action, lead).effect == "approved"


def test_the_log_says_who_let_whom_answer(cast: Cast) -> None:
    widen(cast.mass_mail())
    row = Widening.objects.get()
    assert Entry.objects.get(uuid=row.entry).kind == "action.delegated"


def test_the_quorum_stays_and_one_person_counts_once(cast: Cast) -> None:
    both = person("cleo", "finance", "leads")
    action = cast.order()
    widen(action, group="finance")
    assert "1 of finance" in approve(action, both).message
    assert approve(action, person("lea", "leads")).effect == "approved"


def test_a_group_that_is_not_asked_lets_nobody_in(cast: Cast) -> None:
    with pytest.raises(Refused, match="not asked"):
        widen(cast.mass_mail(), group="finance")


def test_it_is_widened_once(cast: Cast) -> None:
    action = cast.mass_mail()
    widen(action)
    with pytest.raises(Refused, match="already"):
        widen(action, why="escalated")


def test_it_outlives_an_edit(cast: Cast) -> None:
    lead = person("lea", "leads")
    action = cast.order()
    widen(action, group="finance")
    decisions.edit(
        action_id=action.pk, user=cast.approver, digest=action.digest, args={**action.args, "item": "pens"}
    )
    assert queries.inbox(lead).get() == action


def test_a_row_without_its_sealed_entry_starts_nothing(cast: Cast) -> None:
    action = cast.mass_mail()
    lead = person("lea", "leads")
    Widening.objects.create(action=action, group="comms", by_group="leads", why="delegated", entry=uuid7())
    Action.objects.filter(pk=action.pk).update(groups=["comms", "leads"])
    approve(action, lead)
    outcome = starting.start(action_id=action.pk, worker="tests")
    assert isinstance(outcome, starting.Dropped) and "leads may answer for comms" in outcome.why


def test_an_entry_about_other_groups_vouches_for_nothing(cast: Cast) -> None:
    action = cast.mass_mail()
    widen(action, to="archive")
    approve(action, cast.approver)
    Widening.objects.update(by_group="leads")
    outcome = starting.start(action_id=action.pk, worker="tests")
    assert isinstance(outcome, starting.Dropped) and "altered outside" in outcome.why


def test_what_is_truly_widened_is_not_refused_for_it(cast: Cast) -> None:
    action = cast.mass_mail()
    widen(action)
    approve(action, person("lea", "leads"))
    outcome = starting.start(action_id=action.pk, worker="tests")
    assert isinstance(outcome, starting.Held) and "checkpoint" in outcome.why


def test_a_vote_moves_to_make_room_for_somebody_who_is_in_one_group_only(cast: Cast) -> None:
    action = cast.order(amount=20000)  # finance twice and comms once
    approve(action, cast.approver)  # ada is in both, and was put to comms
    approve(action, person("cora", "comms"))
    assert approve(action, cast.second).effect == "approved"
    assert Vote.objects.get(user=cast.approver).group == "comms"


def test_a_widening_of_what_is_decided_is_refused(cast: Cast) -> None:
    action = cast.mass_mail()
    approve(action, cast.approver)
    with pytest.raises(Refused, match="already ready"):
        widen(action)
