"""What a kill switch holds says so: in the row, on the card, and to the agent."""

from __future__ import annotations

import pytest
from pytest_django import DjangoAssertNumQueries

from approvals import answers, killswitch
from approvals.models import Action
from policies import limits
from policies.access import actor
from tests.approvals.test_views import browser, text
from tests.cast import Cast

SCOPES = ("all", "agent:scout", "group:finance", "tool:email.send")


@pytest.mark.parametrize("scope", SCOPES)
def test_row_card_and_agent_are_told_who_stopped_it_and_why(cast: Cast, scope: str) -> None:
    action = cast.mass_mail()
    killswitch.throw(scope=scope, reason="it runs wild", by=actor(cast.administrator))
    said, client = "stopped by root-admin (it runs wild)", browser(cast.approver)
    assert f"held: {said}" in text(client.get("/"))
    assert f"Held: {said}" in text(client.get(f"/actions/{action.pk}/card"))
    assert answers.answer(action)["held"] == said
    limits.lift(scope=scope, by="tests")
    assert "held:" not in text(client.get("/")) and "held" not in answers.answer(action)


def test_what_is_outside_of_the_scope_is_not_held(cast: Cast) -> None:
    action = cast.mass_mail()
    killswitch.throw(scope="tool:deploy", reason="a drill", by="operator")
    assert "held" not in answers.answer(action)


def test_what_is_over_is_not_held(cast: Cast) -> None:
    action = cast.mass_mail()
    Action.objects.update(state="rejected")
    killswitch.throw(scope="all", reason="a drill", by="operator")
    action.refresh_from_db()
    assert "held" not in answers.answer(action)


def test_a_paused_agent_holds_too(cast: Cast) -> None:
    action = cast.mass_mail()
    cast.agent.mode = "paused"
    cast.agent.save()
    action = Action.objects.get(pk=action.pk)
    assert answers.answer(action)["held"] == "the agent scout is paused"


def test_a_reason_is_text_and_nothing_else(cast: Cast) -> None:
    cast.mass_mail()
    killswitch.throw(scope="all", reason='<script>alert(1)</script>" x="', by="operator")
    page = text(browser(cast.approver).get("/"))
    assert "<script>alert" not in page and '" x="' not in page


def test_switches_cost_no_query_a_row(
    cast: Cast, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(4):
        cast.mass_mail()
    for scope in SCOPES:
        killswitch.throw(scope=scope, reason="a drill", by=actor(cast.administrator))
    client = browser(cast.approver)
    with django_assert_max_num_queries(17):
        client.get("/")
