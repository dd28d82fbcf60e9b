"""Deciding many alike at once: each by itself, nothing in a heap that deserves a look of its own."""

from __future__ import annotations

import threading
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection

from approvals import bulk, claims, decisions, heap
from approvals.attention_models import Look
from approvals.models import Action
from policies.models import User
from tests.cast import Cast, cast, committed_cast, person
from traces import record
from traces.models import Entry
from traces.problems import Refused

__all__ = ["cast", "committed_cast"]


def seen(*actions: Action) -> list[bulk.Item]:
    return [bulk.Item(action.pk, action.digest) for action in actions]


def many(user: User, verdict: str, *actions: Action, **said: Any) -> bulk.Done:
    return bulk.decide_many(user=user, verdict=verdict, items=seen(*actions), **said)


def states(*actions: Action) -> list[str]:
    return [Action.objects.get(pk=action.pk).state for action in actions]


def test_all_are_approved_and_the_log_says_that_it_was_together(cast: Cast) -> None:
    actions = [cast.mass_mail() for _ in range(3)]
    done = many(cast.approver, "approve", *actions)
    assert (done.sentence, states(*actions)) == ("3 approved.", ["ready"] * 3)
    votes = Entry.objects.filter(kind="vote.approve")
    assert {(record.open_payload(vote) or {}).get("bulk") for vote in votes} == {str(done.bulk)}


def test_one_that_changed_meanwhile_is_refused_and_the_others_are_done(cast: Cast) -> None:
    one, other = cast.mass_mail(), cast.mass_mail()
    items = [bulk.Item(one.pk, "0" * 64), *seen(other)]
    done = bulk.decide_many(user=cast.approver, verdict="approve", items=items)
    assert [each.effect for each in done.outcomes] == ["refused", "approved"]
    assert "changed since you saw it" in done.refused[0].message and done.sentence == "1 approved, 1 not."
    assert states(one, other) == ["pending", "ready"]


def test_what_somebody_else_has_claimed_is_left_out(cast: Cast) -> None:
    theirs, free = cast.mass_mail(), cast.mass_mail()
    claims.claim(action_id=theirs.pk, user=person("cleo", "comms"))
    listed = heap.heap(cast.approver, "approve", [str(theirs.pk), str(free.pk)])
    assert ["cleo has claimed" in line.why_not for line in listed.lines] == [True, False]
    done = many(cast.approver, "approve", theirs, free)
    assert (done.sentence, states(theirs, free)) == ("1 approved, 1 not.", ["pending", "ready"])


def test_rejecting_many_tells_each_agent_why(cast: Cast) -> None:
    actions = [cast.mass_mail(), cast.mass_mail()]
    many(cast.approver, "reject", *actions, comment="not this week")
    assert {row.decision_reason for row in Action.objects.all()} == {"not this week"}
    assert states(*actions) == ["rejected"] * 2


def test_the_odd_one_is_named_and_nothing_is_decided(cast: Cast) -> None:
    mails, order = [cast.mass_mail(), cast.mass_mail()], cast.order()
    with pytest.raises(Refused, match="order.place .* asked by orders is not like the others") as refused:
        many(cast.approver, "approve", order, *mails)
    assert refused.value.extra["odd"] == [str(order.pk)]
    assert states(order, *mails) == ["pending"] * 3


def test_the_same_tool_asked_by_other_rules_is_not_alike(cast: Cast) -> None:
    with pytest.raises(Refused, match="asked by"):
        many(cast.approver, "approve", cast.order(500), cast.order(20_000))


def test_a_destructive_call_is_rejected_with_others_but_approved_alone(cast: Cast) -> None:
    deploys = [cast.deploy("production"), cast.deploy("staging")]
    done = many(cast.approver, "approve", *deploys)
    assert {each.code for each in done.outcomes} == {"forbidden"} and "destructive" in done.refused[0].message
    assert many(cast.approver, "reject", *deploys, comment="no").count == 2


def test_a_session_that_read_an_injection_since_is_not_approved_in_a_heap(cast: Cast) -> None:
    one, other = cast.mass_mail(), cast.mass_mail()
    one.session.labels = ["injection"]
    one.session.save(update_fields=["labels"])
    done = many(cast.approver, "approve", one, other)
    assert [each.effect for each in done.outcomes] == ["refused", "approved"]
    assert "injection" in done.refused[0].message


def test_what_wants_step_up_is_approved_by_itself() -> None:
    action = Action(effect="write", approvals_json='[{"group": "comms", "step_up": true}]')
    assert "step-up" in bulk.barred(action)


def test_what_is_not_theirs_to_see_does_not_exist(cast: Cast) -> None:
    action = cast.mass_mail()
    done = many(cast.stranger, "approve", action)
    unknown = bulk.decide_many(
        user=cast.stranger, verdict="approve", items=[bulk.Item(uuid4(), action.digest)]
    )
    told = [(each.code, each.message) for each in (*done.outcomes, *unknown.outcomes)]
    assert told == [("not_found", "no such action")] * 2 and states(action) == ["pending"]


def test_an_auditor_decides_none(cast: Cast) -> None:
    action = cast.mass_mail()
    assert [each.code for each in many(cast.auditor, "reject", action, comment="no").outcomes] == [
        "forbidden"
    ]


@pytest.mark.parametrize("count", [0, 51])
def test_none_and_too_many_are_refused_whole(cast: Cast, count: int) -> None:
    items = [bulk.Item(uuid4(), "0" * 64) for _ in range(count)]
    with pytest.raises(Refused, match="1 to 50"):
        bulk.decide_many(user=cast.approver, verdict="approve", items=items)


def test_one_named_twice_is_refused_whole(cast: Cast) -> None:
    action = cast.mass_mail()
    with pytest.raises(Refused, match="twice"):
        many(cast.approver, "approve", action, action)


def test_a_quorum_counts_each_vote_and_says_so(cast: Cast) -> None:
    orders = [cast.order(), cast.order()]
    assert many(cast.approver, "approve", *orders).sentence == "2 voted for, more votes are needed."
    assert many(cast.second, "approve", *orders).sentence == "2 approved."


def test_all_are_taken_back_together_within_five_seconds(cast: Cast) -> None:
    actions = [cast.mass_mail() for _ in range(3)]
    done = many(cast.approver, "approve", *actions)
    assert bulk.undo_many(bulk=done.bulk, user=cast.approver).sentence == "3 taken back."
    assert states(*actions) == ["pending"] * 3


def test_nobody_takes_back_what_somebody_else_approved(cast: Cast) -> None:
    done = many(cast.approver, "approve", cast.mass_mail())
    with pytest.raises(Refused, match="no approvals of yours"):
        bulk.undo_many(bulk=done.bulk, user=cast.second)


def test_one_that_started_is_not_taken_back_and_the_rest_is(cast: Cast) -> None:
    one, other = cast.mass_mail(), cast.mass_mail()
    done = many(cast.approver, "approve", one, other)
    Action.objects.filter(pk=one.pk).update(state="running")
    undone = bulk.undo_many(bulk=done.bulk, user=cast.approver)
    assert [each.effect for each in undone.outcomes] == ["refused", "undone"]


@pytest.mark.django_db(transaction=True)
def test_two_who_decide_the_same_heap_decide_each_action_once(committed_cast: Cast) -> None:
    actions, other = [committed_cast.mass_mail() for _ in range(6)], person("cy", "comms")
    gate, found = threading.Barrier(2), list[bulk.Done]()

    def run(user: User, verdict: str, *heap: Action) -> None:
        try:
            gate.wait(10)
            found.append(many(user, verdict, *heap, comment="x"))
        finally:
            connection.close()

    threads = [
        threading.Thread(target=run, args=(committed_cast.approver, "approve", *actions)),
        threading.Thread(target=run, args=(other, "reject", *reversed(actions))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(done.count for done in found) == 6
    decided = {
        entry.action_id for entry in Entry.objects.filter(kind__in=["action.ready", "action.rejected"])
    }
    assert len(decided) == 6 and Entry.objects.filter(kind__startswith="vote.").count() == 6


@pytest.mark.django_db(transaction=True)
def test_what_the_database_refuses_costs_that_one_alone(
    committed_cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = committed_cast.mass_mail(), committed_cast.mass_mail()
    approve = decisions.approve

    def broken(**said: Any) -> Any:
        decision = approve(**said)
        if said["action_id"] == one.pk:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1/0")
        return decision

    monkeypatch.setattr(decisions, "approve", broken)
    done = many(committed_cast.approver, "approve", one, other)
    assert [each.effect for each in done.outcomes] == ["refused", "approved"]
    assert states(one, other) == ["pending", "ready"] and Look.objects.count() == 1
