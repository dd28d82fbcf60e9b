"""Growing trust: more or less room for an agent is proposed with its evidence, and decided by a person."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from approvals import decisions, promotion, trust
from approvals.growth_models import Promotion
from approvals.models import Action
from policies import agents
from policies.models import Agent
from tests.cast import Cast
from traces import record
from traces.models import Entry
from traces.problems import Refused

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def little_is_enough(settings: Any) -> None:
    settings.AGENTSEC_TRUST = {
        "days": 1, "actions": 2, "failed_percent": 10, "rejected": 2, "pause_days": 30,
    }  # fmt: skip


@pytest.fixture
def reader(cast: Cast) -> Cast:
    """The cast, with an agent that may only read and has read twice."""
    agents.set_mode(agent=cast.agent, mode="read_only", by="tests")
    for number in range(2):
        cast.propose("notes.read", {"id": number})
    return cast


def proposal() -> Promotion:
    promotion.find()
    return Promotion.objects.get(state="open")


def mode() -> str:
    return Agent.objects.get(name="scout").mode


def reject(cast: Cast, times: int) -> None:
    for number in range(times):
        action = cast.deploy(f"host-{number}")
        decisions.reject(action_id=action.pk, user=cast.approver, digest=action.digest, comment="no")


def test_who_has_read_enough_is_proposed_and_still_only_reads(reader: Cast) -> None:
    assert (proposal().after, mode()) == ("standard", "read_only")


def test_the_evidence_counts_what_it_did_and_what_came_of_it(reader: Cast) -> None:
    reader.propose("email.send", {"to": ["a@x.example"], "subject": "s", "body": "b"})
    reader.deploy()
    shown = trust.evidence(reader.agent, since=timezone.now() - timedelta(days=1))
    assert (shown.proposed, shown.allowed, shown.asked, shown.blocked) == (4, 2, 0, 2)
    assert (shown.held_by_mode, shown.would_allow, shown.would_ask, shown.blocked_by_rules) == (2, 1, 1, 0)
    assert (shown.days_active, shown.sessions, shown.injected) == (1, 4, 0)


def test_too_little_is_not_enough(reader: Cast, settings: Any) -> None:
    enough = settings.AGENTSEC_TRUST
    for needs in ({"days": 2}, {"actions": 3}):
        settings.AGENTSEC_TRUST = {**enough, **needs}
        assert promotion.find() == []


def test_one_injection_in_a_session_is_too_much(reader: Cast) -> None:
    session = reader.session()
    record.add_labels(session=session, labels=["injection"], why="x", actor="tests")
    assert promotion.find() == []
    assert promotion.standing(reader.agent).lacks() == ["1 sessions had read an injection"]


def test_a_call_that_a_rule_blocks_is_too_much(reader: Cast) -> None:
    reader.propose("order.place", {"supplier": "casino", "amount": 1})
    assert promotion.find() == []


def test_an_administrator_accepts_and_the_log_holds_the_evidence(reader: Cast) -> None:
    promotion.decide(promotion_id=proposal().pk, user=reader.administrator, accept=True)
    assert mode() == "standard"
    body = record.open_payload(Entry.objects.get(kind="trust.accepted"))
    assert isinstance(body, dict)
    assert (body["evidence"]["proposed"], body["after"]) == (2, "standard")
    assert Entry.objects.filter(kind="agent.mode").count() == 2


def test_nobody_else_decides(reader: Cast) -> None:
    row = proposal()
    for user in (reader.approver, reader.auditor, reader.stranger):
        with pytest.raises(Refused, match="may not"):
            promotion.decide(promotion_id=row.pk, user=user, accept=True)
    assert mode() == "read_only"


def test_with_four_eyes_the_owner_does_not_raise_their_own_agent(reader: Cast, settings: Any) -> None:
    settings.AGENTSEC_FOUR_EYES = True
    Agent.objects.update(owner=reader.administrator)
    with pytest.raises(Refused, match="somebody else"):
        promotion.decide(promotion_id=proposal().pk, user=reader.administrator, accept=True)


def test_what_was_declined_is_not_proposed_again_for_a_while(reader: Cast) -> None:
    row = proposal()
    with pytest.raises(Refused, match="why not"):
        promotion.decide(promotion_id=row.pk, user=reader.administrator, accept=False)
    promotion.decide(promotion_id=row.pk, user=reader.administrator, accept=False, reason="too early")
    assert promotion.find() == []
    Promotion.objects.update(decided_at=timezone.now() - timedelta(days=31))
    assert len(promotion.find()) == 1


def test_it_is_decided_once(reader: Cast) -> None:
    row = proposal()
    promotion.decide(promotion_id=row.pk, user=reader.administrator, accept=True)
    with pytest.raises(Refused, match="already accepted"):
        promotion.decide(promotion_id=row.pk, user=reader.administrator, accept=False, reason="x")


def test_evidence_that_turned_bad_is_not_accepted(reader: Cast) -> None:
    row = proposal()
    record.add_labels(session=reader.session(), labels=["injection"], why="x", actor="tests")
    with pytest.raises(Refused, match="does not speak"):
        promotion.decide(promotion_id=row.pk, user=reader.administrator, accept=True)
    promotion.find()
    assert Promotion.objects.get(pk=row.pk).state == "withdrawn"


def test_who_was_paused_meanwhile_is_not_raised(reader: Cast) -> None:
    row = proposal()
    agents.set_mode(agent=reader.agent, mode="paused", by="tests")
    with pytest.raises(Refused, match="paused by now"):
        promotion.decide(promotion_id=row.pk, user=reader.administrator, accept=True)
    assert mode() == "paused"


def test_looking_twice_proposes_once(reader: Cast) -> None:
    assert (len(promotion.find()), len(promotion.find()), Promotion.objects.count()) == (1, 0, 1)
    assert Entry.objects.filter(kind="trust.proposed").count() == 1


def test_rejections_let_less_room_be_proposed_and_nothing_happens_by_itself(cast: Cast) -> None:
    reject(cast, times=2)
    row = proposal()
    assert (row.after, row.why, mode()) == (
        "read_only", "people rejected 2 of 2 calls that they were asked about", "standard",
    )  # fmt: skip
    promotion.decide(promotion_id=row.pk, user=cast.administrator, accept=True)
    assert mode() == "read_only"


def test_what_was_done_before_the_last_decision_counts_no_more(cast: Cast) -> None:
    reject(cast, times=2)
    promotion.decide(promotion_id=proposal().pk, user=cast.administrator, accept=True)
    assert promotion.standing(cast.agent).proposed == 0


def test_an_agent_without_a_past_breaks_nothing(cast: Cast) -> None:
    fresh = agents.create_agent(name="fresh", by="tests")
    shown = promotion.standing(fresh)
    assert (shown.proposed, shown.failed_percent, Action.objects.count()) == (0, 0, 0)
    assert promotion.find() == []
