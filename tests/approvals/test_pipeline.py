"""Proposing a call: what it becomes, what is refused, and what the log says of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from approvals import answers
from approvals.models import Action
from policies import world
from policies.models import Agent
from tests.cast import MANY, Cast
from traces import record
from traces.models import Entry
from traces.problems import Refused


def kinds(action: Action) -> list[str]:
    return list(Entry.objects.about(str(action.pk)).values_list("kind", flat=True))


def test_a_small_mail_is_ready_at_once(cast: Cast) -> None:
    action = cast.propose("email.send", {"to": ["a@example.com"], "subject": "Hi", "body": "x"})
    assert (action.state, action.verdict["effect"]) == ("ready", "allow")


def test_a_mass_mail_waits_for_comms_with_the_reason(cast: Cast) -> None:
    told = answers.answer(cast.mass_mail())
    assert told["state"] == "pending"
    assert told["approvals"] == [{"group": "comms", "quorum": 1}]
    assert "mass-mail" in told["verdict"]["rules"]


def test_a_block_outweighs_every_ask(cast: Cast) -> None:
    action = cast.propose("order.place", {"supplier": "casino", "item": "chips", "amount": 20000})
    assert action.state == "blocked"
    assert action.approvals == []


def test_nothing_allows_it_so_it_is_blocked(cast: Cast) -> None:
    assert cast.propose("undeclared.tool", {"x": 1}).state == "blocked"


def test_each_step_of_the_way_is_an_entry(cast: Cast) -> None:
    assert kinds(cast.mass_mail()) == ["action.proposed", "action.judged", "action.pending"]


def test_the_entry_holds_the_facts_that_the_verdict_saw(cast: Cast) -> None:
    action = cast.mass_mail()
    judged = record.open_payload(Entry.objects.about(str(action.pk)).get(kind="action.judged"))
    assert judged["facts"]["args"]["to"] == MANY
    assert "mass-mail" in judged["rules"]


def test_unknown_arguments_are_refused_and_leave_a_trace(committed_cast: Cast) -> None:
    session = committed_cast.session()
    with pytest.raises(Refused) as refused:
        committed_cast.propose(
            "email.send", {"to": [], "subject": "", "body": "", "colour": 1}, session=session
        )
    assert refused.value.code == "invalid"
    assert "colour" in refused.value.detail
    assert Entry.objects.of_session(session.pk).filter(kind="action.refused").count() == 1


def test_two_equal_calls_never_share_a_digest(cast: Cast) -> None:
    session = cast.session()
    first, second = cast.mass_mail(session), cast.mass_mail(session)
    assert first.call_digest == second.call_digest
    assert first.digest != second.digest


def test_a_replay_under_the_same_idempotency_key_is_the_same_action(cast: Cast) -> None:
    session = cast.session()
    first = cast.mass_mail(session, idempotency_key="k1")
    assert cast.mass_mail(session, idempotency_key="k1").pk == first.pk
    assert Action.objects.count() == 1


def test_a_replay_with_other_content_is_a_conflict(cast: Cast) -> None:
    session = cast.session()
    cast.mass_mail(session, idempotency_key="k1")
    with pytest.raises(Refused) as refused:
        cast.propose(
            "email.send", {"to": ["x@example.com"], "subject": "", "body": ""}, session, idempotency_key="k1"
        )
    assert refused.value.code == "conflict"


def test_integral_floats_are_the_same_call(cast: Cast) -> None:
    session = cast.session()
    one = cast.propose("order.place", {"supplier": "A", "amount": 5}, session)
    other = cast.propose("order.place", {"supplier": "A", "amount": 5.0}, session)
    assert one.call_digest == other.call_digest
    assert other.args["amount"] == 5


def test_a_read_only_agent_is_blocked_from_writing_but_reads(cast: Cast) -> None:
    Agent.objects.filter(pk=cast.agent.pk).update(mode="read_only")
    assert cast.propose("notes.read", {"id": 1}).state == "ready"
    mail = cast.propose("email.send", {"to": ["a@example.com"], "subject": "", "body": ""})
    assert mail.state == "blocked"
    assert "may only read" in mail.verdict["reasons"][0]


def test_a_paused_agent_is_stopped_at_once(committed_cast: Cast) -> None:
    session = committed_cast.session()
    Agent.objects.update(mode="paused")
    with pytest.raises(Refused) as refused:
        committed_cast.propose("notes.read", {"id": 1}, session)
    assert refused.value.code == "forbidden"


def test_pending_actions_are_limited(committed_cast: Cast) -> None:
    session = committed_cast.session()
    Agent.objects.update(pending=2)
    committed_cast.mass_mail(session)
    committed_cast.mass_mail(session)
    with pytest.raises(Refused) as refused:
        committed_cast.mass_mail(session)
    assert refused.value.code == "limit"
    assert refused.value.extra["retry_after"] > 0


def test_a_session_of_another_agent_does_not_exist(cast: Cast) -> None:
    world.apply("agents:\n  - {name: other, mode: standard}\n", by="tests")
    session = cast.session()
    cast.agent = Agent.objects.get(name="other")
    with pytest.raises(Refused) as refused:
        cast.propose("notes.read", {"id": 1}, session)
    assert refused.value.code == "not_found"


def test_a_time_far_ahead_is_refused(cast: Cast) -> None:
    with pytest.raises(Refused):
        cast.propose("notes.read", {"id": 1}, not_before=timezone.now() + timedelta(days=400))


def test_a_long_value_in_the_sentence_says_that_it_is_cut(cast: Cast) -> None:
    action = cast.mass_mail()
    assert action.summary.endswith("and 98 more")


def test_a_file_that_was_never_uploaded_is_refused(cast: Cast) -> None:
    with pytest.raises(Refused) as refused:
        cast.propose("script.run", {"code": "pass", "files": {"a.csv": {"$file": "0" * 64}}})
    assert "POST /files" in refused.value.detail
