"""What nobody decides in time is put before the next group; what nobody decides at all is refused."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from approvals import answers, clock, decisions, escalation, queries, starting
from approvals.models import Action, Widening
from policies import world
from policies.models import User
from tests.cast import Cast, person
from traces import record
from traces.models import Entry

RULES = """
rules:
  - {name: mail, effect: allow, tools: [email.send]}
  - name: mass-mail
    effect: ask
    tools: [email.send]
    when: recipients(args) > 100 || has(args.attachments)
    approvers: comms
    expires_after: 15m
    escalate: [{after: 10m, to: leads}, {after: 12m, to: directors}]
"""


@pytest.fixture
def waiting(cast: Cast) -> Action:
    world.apply(RULES, by="tests")
    return cast.mass_mail()


def later(action: Action, minutes: float) -> None:
    """Let it have been asked so many minutes ago; the log says so too."""
    past = timedelta(minutes=minutes)
    action.refresh_from_db()
    Action.objects.filter(pk=action.pk).update(
        changed_at=action.changed_at - past, deadline=action.deadline - past,
        escalates_at=action.escalates_at and action.escalates_at - past,
    )  # fmt: skip


def approve(action: Action, user: User) -> decisions.Decision:
    return decisions.approve(action_id=action.pk, user=user, digest=action.digest, channel="rest")


def test_before_its_time_nobody_else_sees_it(waiting: Action) -> None:
    lead = person("lea", "leads")
    later(waiting, 9)
    assert clock.escalate(timezone.now()) == 0
    assert not queries.inbox(lead).exists()


def test_after_its_time_the_next_group_sees_and_decides_it(waiting: Action) -> None:
    lead = person("lea", "leads")
    later(waiting, 11)
    assert clock.escalate(timezone.now()) == 1
    assert queries.inbox(lead).get() == waiting
    assert approve(waiting, lead).effect == "approved"


def test_the_log_says_why(waiting: Action) -> None:
    later(waiting, 11)
    clock.escalate(timezone.now())
    told = record.open_payload(Entry.objects.get(kind="action.escalated"))
    assert (told["group"], told["to"], told["reason"]) == (
        "comms", "leads", "nobody of comms decided in 10 min",
    )  # fmt: skip


def test_each_step_is_taken_once(waiting: Action) -> None:
    later(waiting, 13)
    assert clock.escalate(timezone.now()) == 2
    assert clock.escalate(timezone.now()) == 0
    assert list(Widening.objects.values_list("by_group", flat=True)) == ["leads", "directors"]


def test_the_next_step_waits_for_its_own_time(waiting: Action) -> None:
    later(waiting, 11)
    clock.escalate(timezone.now())
    waiting.refresh_from_db()
    assert waiting.escalates_at == waiting.changed_at + timedelta(minutes=12)


def test_what_was_undone_is_counted_from_anew(waiting: Action) -> None:
    decisions.approve(action_id=waiting.pk, user=User.objects.get(username="ada"), digest=waiting.digest)
    decisions.undo(action_id=waiting.pk, user=User.objects.get(username="ada"))
    clock.escalate(timezone.now())
    waiting.refresh_from_db()
    assert waiting.escalates_at == waiting.changed_at + timedelta(minutes=10)


def test_a_clock_that_was_away_expires_it_first(waiting: Action) -> None:
    later(waiting, 16)
    clock.tick()
    waiting.refresh_from_db()
    assert (waiting.state, Widening.objects.count()) == ("expired", 0)


def test_an_escalation_before_its_time_is_worth_nothing_at_the_start(waiting: Action) -> None:
    lead = person("lea", "leads")
    later(waiting, 11)  # only the rows say so: the log knows that it was asked just now
    clock.escalate(timezone.now())
    approve(waiting, lead)
    outcome = starting.start(action_id=waiting.pk, worker="tests")
    assert isinstance(outcome, starting.Dropped) and "altered outside" in outcome.why


def test_one_in_its_time_starts(waiting: Action, monkeypatch: pytest.MonkeyPatch) -> None:
    now = timezone.now() + timedelta(minutes=11)
    monkeypatch.setattr(timezone, "now", lambda: now)
    clock.escalate(now)
    approve(waiting, person("lea", "leads"))
    outcome = starting.start(action_id=waiting.pk, worker="tests")
    assert isinstance(outcome, starting.Held) and "checkpoint" in outcome.why


def test_what_nobody_decides_is_a_rejection_with_that_reason(waiting: Action) -> None:
    later(waiting, 13)
    clock.escalate(timezone.now())
    later(waiting, 3)
    clock.expire(timezone.now())
    waiting.refresh_from_db()
    told = answers.answer(waiting)
    assert told["state"] == "expired"
    assert told["rejection"]["reason"] == "nobody of comms or directors or leads decided within 15 min"


def test_a_vote_that_was_not_enough_is_said(cast: Cast) -> None:
    action = cast.order()
    approve(action, cast.second)
    Action.objects.filter(pk=action.pk).update(deadline=timezone.now())
    clock.expire(timezone.now())
    action.refresh_from_db()
    assert action.decision_reason.startswith("only 1 of 2 of finance decided within")


def test_a_group_that_has_decided_is_not_passed_over(cast: Cast) -> None:
    rule = (
        "rules:\n  - {name: orders, effect: ask, tools: [order.place], approvers: finance, quorum: 1,"
        " escalate: [{after: 5m, to: leads}]}\n"
    )
    world.apply(rule, by="tests")
    action = cast.order(amount=20000)
    approve(action, cast.second)
    later(action, 6)
    assert escalation.escalate(action_id=action.pk) == 0
