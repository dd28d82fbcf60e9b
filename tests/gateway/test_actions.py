"""The agent's way: propose, poll, run, report, cancel; and the limits of what it sees."""

from __future__ import annotations

from uuid import uuid4

from policies.models import Agent
from tests.cast import MANY
from tests.gateway.caller import MAIL, answer
from tests.gateway.conftest import Door

MASS = {**MAIL, "to": MANY}


def test_an_allowed_call_brings_its_grant_in_the_answer(door: Door) -> None:
    status, told = door.agent.propose("email.send", MAIL)
    assert (status, told["state"]) == (200, "running")
    assert told["grant"]["digest"] == told["digest"]


def test_an_asked_call_is_polled(door: Door) -> None:
    response = door.agent.call(
        "POST", "/actions", {"session": door.agent.session(), "tool": "email.send", "args": MASS}
    )
    status, told = answer(response)
    assert (status, told["state"], told["verdict"]["effect"]) == (202, "pending", "ask")
    assert response["Location"] == told["poll"]
    assert door.agent.get(told["poll"].removeprefix("/api/v1"))[0] == 202


def test_a_blocked_call_says_why_in_a_problem_that_is_also_the_answer(door: Door) -> None:
    status, told = door.agent.propose("order.place", {"supplier": "casino", "amount": 1})
    assert (status, told["code"], told["state"]) == (403, "blocked", "blocked")
    assert "no-gambling" in told["verdict"]["rules"]
    assert told["detail"] == " ".join(told["verdict"]["reasons"])
    assert door.agent.get(f"/actions/{told['id']}")[0] == 200


def test_a_limit_says_when_to_come_back(door: Door) -> None:
    Agent.objects.filter(pk=door.cast.agent.pk).update(actions_per_minute=1)
    session = door.agent.session()
    door.agent.propose("email.send", MAIL, session=session)
    response = door.agent.call("POST", "/actions", {"session": session, "tool": "email.send", "args": MAIL})
    status, told = answer(response)
    assert (status, told["code"]) == (429, "limit")
    assert 1 <= int(response["Retry-After"]) <= 60
    assert told["retry_after"] == int(response["Retry-After"])


def test_a_replay_under_its_idempotency_key_is_the_same_action(door: Door) -> None:
    session = door.agent.session()
    first = door.agent.propose("email.send", MASS, session=session, idempotency_key="k")[1]
    assert (
        door.agent.propose("email.send", MASS, session=session, idempotency_key="k")[1]["id"] == first["id"]
    )


def test_a_replay_with_other_content_is_409(door: Door) -> None:
    session = door.agent.session()
    door.agent.propose("email.send", MASS, session=session, idempotency_key="k")
    status, told = door.agent.propose("email.send", MAIL, session=session, idempotency_key="k")
    assert (status, told["code"]) == (409, "conflict")


def test_the_agent_reports_its_result_under_the_grant(door: Door) -> None:
    told = door.agent.propose("email.send", MAIL)[1]
    body = {"status": "succeeded", "output": {"sent": 1}, "grant": told["grant"]["id"]}
    status, done = door.agent.post(f"/actions/{told['id']}/result", body)
    assert (status, done["state"]) == (200, "succeeded")
    assert door.agent.post(f"/actions/{told['id']}/result", body)[0] == 409


def test_a_result_under_another_grant_is_refused(door: Door) -> None:
    told = door.agent.propose("email.send", MAIL)[1]
    status, problem = door.agent.post(
        f"/actions/{told['id']}/result", {"status": "succeeded", "grant": str(uuid4())}
    )
    assert (status, problem["code"]) == (410, "gone")


def test_a_grant_given_back_ends_the_action(door: Door) -> None:
    told = door.agent.propose("email.send", MAIL)[1]
    assert door.agent.delete(f"/grants/{told['grant']['id']}") == (204, None)
    assert door.agent.get(f"/actions/{told['id']}")[1]["state"] == "interrupted"


def test_a_waiting_call_is_cancelled_once(door: Door) -> None:
    told = door.agent.propose("email.send", MASS)[1]
    assert door.agent.post(f"/actions/{told['id']}/cancel")[1]["state"] == "cancelled"
    assert door.agent.post(f"/actions/{told['id']}/cancel", {})[0] == 409


def test_another_agents_things_do_not_exist(door: Door) -> None:
    session = door.agent.session()
    told = door.agent.propose("email.send", MAIL, session=session)[1]
    path = f"/actions/{told['id']}"
    assert door.other.get(path)[0] == 404
    assert door.other.post(f"{path}/result", {"status": "succeeded"})[0] == 404
    assert door.other.post(f"{path}/cancel")[0] == 404
    assert door.other.delete(f"/grants/{told['grant']['id']}")[0] == 404
    assert door.other.post(f"/sessions/{session}/events", {"kind": "reasoning", "text": "x"})[0] == 404
    assert door.other.propose("email.send", MAIL, session=session)[0] == 404
    assert door.other.post("/sessions", {"parent": session})[0] == 404


def test_a_time_needs_its_zone(door: Door) -> None:
    assert door.agent.propose("email.send", MAIL, not_before="2030-01-01T00:00:00")[0] == 422
    assert door.agent.propose("email.send", MAIL, not_before=1)[0] == 422


def test_arguments_beside_the_schema_are_named(door: Door) -> None:
    status, told = door.agent.propose("email.send", {**MAIL, "colour": 1})
    assert (status, told["code"]) == (422, "invalid")
    assert "colour" in told["detail"]


def test_answers_are_never_cached(door: Door) -> None:
    assert door.agent.call("POST", "/sessions", {})["Cache-Control"] == "no-store"
