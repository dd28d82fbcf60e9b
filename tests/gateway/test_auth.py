"""Who may call: keys for agents, tokens for people, nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from policies import agents
from policies.models import AgentKey, PersonalToken, User
from tests.gateway.caller import MAIL, Caller, answer
from tests.gateway.conftest import Door


def test_without_a_credential_the_caller_is_told_what_to_send(door: Door) -> None:
    response = Caller().call("POST", "/sessions", {})
    assert answer(response)[0] == 401
    assert response["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "token", ["ask_unknown", "ask_" + "a" * 43, "ast_" + "a" * 43, "x", "é" * 20, "ask_" + "'" * 43]
)
def test_an_unknown_credential_is_401(door: Door, token: str) -> None:
    assert Caller(token).post("/sessions", {})[0] in ((401, 403) if token.startswith("ast_") else (401,))
    assert Caller(token).get("/log/checkpoint")[0] == 401


def test_a_person_may_not_act_as_an_agent(door: Door) -> None:
    status, told = door.approver.post("/sessions", {})
    assert (status, told["code"]) == (403, "forbidden")


def test_an_agent_may_not_decide(door: Door) -> None:
    action = door.cast.mass_mail()
    body = {"verdict": "approve", "digest": action.digest}
    assert door.agent.post(f"/actions/{action.pk}/decision", body)[0] == 403
    assert door.agent.get("/inbox")[0] == 403


def test_a_revoked_key_is_refused_from_the_next_call_on(door: Door) -> None:
    assert door.agent.post("/sessions", {})[0] == 200
    agents.revoke(agent=door.cast.agent, by="tests")
    assert door.agent.post("/sessions", {})[0] == 401


def test_an_expired_key_is_refused(door: Door) -> None:
    AgentKey.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert door.agent.post("/sessions", {})[0] == 401


def test_an_expired_token_is_refused(door: Door) -> None:
    PersonalToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert door.approver.get("/inbox")[0] == 401


def test_the_token_of_someone_switched_off_is_refused(door: Door) -> None:
    User.objects.filter(pk=door.cast.approver.pk).update(is_active=False)
    assert door.approver.get("/inbox")[0] == 401


def test_a_signed_in_browser_is_nobody_here(door: Door) -> None:
    browser = Caller()
    browser.client.force_login(door.cast.approver, backend="django.contrib.auth.backends.ModelBackend")
    assert browser.get("/inbox")[0] == 401


def test_a_key_that_only_attests_cannot_propose(door: Door) -> None:
    host = Caller(agents.issue_key(door.cast.agent, ["attest"], by="tests"))
    status, told = host.propose("email.send", MAIL)
    assert (status, told["code"]) == (403, "forbidden")


@pytest.mark.parametrize("scheme", ["Basic", "Token", "Bearer Bearer"])
def test_other_schemes_are_401(door: Door, scheme: str) -> None:
    door.agent.headers["Authorization"] = f"{scheme} {door.cast.raw_key}"
    assert door.agent.post("/sessions", {})[0] == 401


def test_a_key_that_only_attests_takes_no_grant(door: Door) -> None:
    ready = door.cast.propose("email.send", MAIL)
    host = Caller(agents.issue_key(door.cast.agent, ["attest"], by="tests"))
    assert "grant" not in host.get(f"/actions/{ready.pk}")[1]
    assert "grant" in door.agent.get(f"/actions/{ready.pk}")[1]
