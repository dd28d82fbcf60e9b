"""The host application's calls for its user's own word."""

from __future__ import annotations

import pytest

import tests.cast
from approvals.models import Action
from policies import agents
from policies.models import Agent
from tests.cast import Cast, make_cast
from tests.frozen import copied
from tests.gateway.caller import Caller
from tests.gateway.conftest import Door, door_for

WORLD = tests.cast.WORLD.replace("tools: [deploy], approvers: comms", 'tools: [deploy], approvers: "@user"')


def make_asking() -> Cast:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tests.cast, "WORLD", WORLD)
        return make_cast()


@pytest.fixture
def asking(db: None) -> Door:
    """The cast at the door, where deploys ask the user."""
    return door_for(copied(make_asking))


def deploy(door: Door, user: str = "dana") -> Action:
    return door.cast.propose("deploy", {"target": "production"}, session=door.cast.session(user=user))


def said(action: Action, **more: object) -> dict[str, object]:
    return {"verdict": "approve", "digest": action.digest, "user": "dana", "confirm": "production", **more}


def other_host(door: Door) -> Caller:
    return Caller(agents.issue_key(Agent.objects.get(name="other"), ["act", "attest"], by="tests"))


def test_the_host_reads_what_to_show_its_user_and_answers(asking: Door) -> None:
    action = deploy(asking)
    deploy(asking, "erin")
    [told] = asking.host.get("/confirmations?user=dana")[1]["confirmations"]
    assert (told["action"], told["target"], told["confirm"]) == (str(action.pk), "production", "production")
    assert told["args"] == {"target": "production"} and told["origins"]["/target"] == "agent"
    status, answer = asking.host.post(f"/actions/{action.pk}/confirmation", said(action))
    assert (status, answer["effect"], answer["action"]["state"]) == (200, "approved", "ready")
    assert asking.host.get("/confirmations?user=dana")[1]["confirmations"] == []


def test_a_no_reaches_the_agent_with_its_reason(asking: Door) -> None:
    action = deploy(asking)
    asking.host.post(
        f"/actions/{action.pk}/confirmation", said(action, verdict="reject", comment="not today")
    )
    assert asking.agent.get(f"/actions/{action.pk}")[1]["decision"]["reason"] == "not today"


def test_the_agent_is_told_that_its_user_is_waited_for(asking: Door) -> None:
    action = deploy(asking)
    told = asking.agent.get(f"/actions/{action.pk}")[1]
    assert told["confirmation"]["state"] == "waiting"
    assert told["approvals"] == [{"group": "@user", "quorum": 1}]


def test_who_may_not_speak_for_the_user_is_refused(asking: Door) -> None:
    action = deploy(asking)
    stranger = other_host(asking)
    for caller, status in ((asking.agent, 403), (asking.other, 403), (asking.approver, 403), (stranger, 404)):
        assert caller.post(f"/actions/{action.pk}/confirmation", said(action))[0] == status
        path = f"/sessions/{action.session_id}/confirmation-link"
        assert caller.post(path, {})[0] == caller.delete(path)[0] == status
    assert stranger.get(f"/confirmations?session={action.session_id}") == (
        200,
        {"confirmations": [], "more": False},
    )
    assert asking.agent.get("/confirmations")[0] == 403


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"user": "Dana"}, 403),
        ({"user": "dana\u200b"}, 403),
        ({"digest": "0" * 64}, 409),
        ({"confirm": "prod"}, 422),
        ({"confirm": ""}, 422),
    ],
)
def test_what_is_not_exactly_so_is_refused(asking: Door, change: dict[str, str], status: int) -> None:
    action = deploy(asking)
    assert asking.host.post(f"/actions/{action.pk}/confirmation", said(action, **change))[0] == status
    action.refresh_from_db()
    assert action.state == "pending"


def test_a_reviewer_sees_the_word_beside_the_votes(asking: Door) -> None:
    action = deploy(asking)
    assert asking.auditor.get(f"/actions/{action.pk}")[1]["word"] is None
    asking.host.post(f"/actions/{action.pk}/confirmation", said(action))
    word = asking.auditor.get(f"/actions/{action.pk}")[1]["word"]
    assert (word["user"], word["by"], word["verdict"]) == ("dana", "host", "approve")


def test_a_link_is_made_and_ended(asking: Door) -> None:
    session = asking.host.session(user="dana")
    status, told = asking.host.post(f"/sessions/{session}/confirmation-link")
    assert status == 200 and "/mine/lnk_" in told["url"]
    assert asking.host.delete(f"/sessions/{session}/confirmation-link")[0] == 204
    path = "/mine/" + told["url"].rpartition("/")[2]
    assert Caller().client.get(path).status_code == 410


def test_no_link_for_a_session_that_serves_nobody(asking: Door) -> None:
    session = asking.agent.session(user="dana")
    status, told = asking.host.post(f"/sessions/{session}/confirmation-link", {})
    assert status == 409 and "attest" in told["detail"]
