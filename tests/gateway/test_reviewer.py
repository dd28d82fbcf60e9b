"""The reviewer's calls: what waits, a vote on exactly what was seen, the evidence."""

from __future__ import annotations

import base64
import json

import pytest

from approvals.models import Action
from tests.cast import MANY
from tests.gateway.caller import MAIL
from tests.gateway.conftest import Door
from traces.models import Entry

MASS = {**MAIL, "to": MANY}


def vote(verdict: str, action: Action, **more: object) -> dict[str, object]:
    return {"verdict": verdict, "digest": action.digest, **more}


def test_the_inbox_shows_the_asked_group_what_it_needs_to_decide(door: Door) -> None:
    action = door.cast.mass_mail()
    status, told = door.approver.get("/inbox")
    [row] = told["actions"]
    assert (status, row["id"], row["digest"], row["tool"]) == (
        200,
        str(action.pk),
        action.digest,
        "email.send",
    )
    assert row["args"]["to"] == MANY
    assert row["may_decide"]["allowed"]


def test_agent_and_reviewer_are_told_the_same_moment_alike(door: Door) -> None:
    action = door.cast.mass_mail()
    [row] = door.approver.get("/inbox")[1]["actions"]
    assert row["created_at"] == door.agent.get(f"/actions/{action.pk}")[1]["created_at"]


def test_an_auditor_reads_and_is_told_why_not_to_decide(door: Door) -> None:
    action = door.cast.mass_mail()
    [row] = door.auditor.get("/inbox")[1]["actions"]
    assert not row["may_decide"]["allowed"] and row["may_decide"]["why"]
    assert door.auditor.post(f"/actions/{action.pk}/decision", vote("approve", action))[0] == 403


def test_a_stranger_sees_nothing(door: Door) -> None:
    action = door.cast.mass_mail()
    assert door.stranger.get("/inbox")[1]["actions"] == []
    assert door.stranger.get(f"/actions/{action.pk}")[0] == 404
    assert door.stranger.get(f"/actions/{action.pk}/evidence")[0] == 404
    assert door.stranger.get(f"/actions/{action.pk}/artifacts/x")[0] == 404
    assert door.stranger.post(f"/actions/{action.pk}/decision", vote("approve", action))[0] == 404


def test_the_inbox_comes_in_pages_and_loses_nothing(door: Door) -> None:
    wanted = {str(door.cast.mass_mail().pk) for _ in range(5)}
    seen: list[str] = []
    after = ""
    while True:
        told = door.approver.get(f"/inbox?limit=2&after={after}")[1]
        seen += [row["id"] for row in told["actions"]]
        if not (after := told["next"]):
            break
    assert len(seen) == 5 and set(seen) == wanted


def place(at: str) -> str:
    told = json.dumps([at, "00000000-0000-0000-0000-000000000001"])
    return base64.urlsafe_b64encode(told.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "after",
    [
        "x",
        "bnVsbA",
        "WzEsMl0",
        "WyIyMDMwLTAxLTAxIiwieCJd",
        "W1tbW1tb",
        "%00",
        "é",
        place("0001-01-01T00:00:00+23:59"),
    ],
)
def test_a_made_up_place_in_the_inbox_is_refused(door: Door, after: str) -> None:
    assert door.approver.get(f"/inbox?after={after}")[0] == 422


def test_an_approval_reaches_the_agent(door: Door) -> None:
    told = door.agent.propose("email.send", MASS)[1]
    status, decided = door.approver.post(
        f"/actions/{told['id']}/decision", {"verdict": "approve", "digest": told["digest"], "comment": "fine"}
    )
    assert (status, decided["effect"], decided["action"]["state"]) == (200, "approved", "ready")


def test_a_rejection_tells_the_agent_why(door: Door) -> None:
    action = door.cast.mass_mail()
    assert (
        door.approver.post(f"/actions/{action.pk}/decision", vote("reject", action, comment="too many"))[0]
        == 200
    )
    status, told = door.agent.get(f"/actions/{action.pk}")
    assert (status, told["state"], told["decision"]["reason"]) == (200, "rejected", "too many")


def test_a_vote_on_something_else_is_409(door: Door) -> None:
    action = door.cast.mass_mail()
    status, told = door.approver.post(
        f"/actions/{action.pk}/decision", {"verdict": "approve", "digest": "0" * 64}
    )
    assert (status, told["code"], told["digest"]) == (409, "conflict", action.digest)


def test_whoever_comes_second_is_told_who_was_first(door: Door) -> None:
    action = door.cast.mass_mail()
    door.approver.post(f"/actions/{action.pk}/decision", vote("reject", action, comment="no"))
    status, told = door.approver.post(f"/actions/{action.pk}/decision", vote("approve", action))
    assert (status, told["decided_by"]) == (409, "ada")


@pytest.mark.parametrize("comment", ["", " \n\t "])
def test_a_rejection_without_a_reason_is_refused_and_says_what_to_do(door: Door, comment: str) -> None:
    action = door.cast.mass_mail()
    one = door.approver.post(f"/actions/{action.pk}/decision", vote("reject", action, comment=comment))
    item = {"action": str(action.pk), "digest": action.digest}
    many = door.approver.post("/decisions", {"verdict": "reject", "items": [item], "comment": comment})
    assert [(status, told["code"], told["field"]) for status, told in (one, many)] == [
        (422, "invalid", "comment")
    ] * 2
    assert "say why" in one[1]["detail"] and "say why" in many[1]["detail"]
    action.refresh_from_db()
    assert action.state == "pending"


def test_ones_own_counted_vote_is_taken_back_while_it_waits(door: Door) -> None:
    action = door.cast.order()
    path = f"/actions/{action.pk}/decision"
    assert door.approver.post(path, vote("approve", action))[1]["effect"] == "counted"
    assert door.second.delete(path)[0] == 409
    status, told = door.approver.delete(path)
    assert (status, told["effect"], told["action"]["state"]) == (200, "undone", "pending")
    assert Entry.objects.filter(kind="vote.undone", action_id=str(action.pk)).count() == 1
    assert door.second.post(path, vote("approve", action))[1]["effect"] == "counted"


def test_what_is_decided_or_not_ones_own_to_see_is_not_taken_back(door: Door) -> None:
    action = door.cast.mass_mail()
    path = f"/actions/{action.pk}/decision"
    door.approver.post(path, vote("approve", action))
    status, told = door.approver.delete(path)
    assert (status, told["decided_by"], told["state"]) == (409, "ada", "ready")
    assert (door.stranger.delete(path)[0], door.agent.delete(path)[0]) == (404, 403)


def test_an_edit_is_approved_as_edited(door: Door) -> None:
    action = door.cast.mass_mail()
    body = vote("approve", action, args={**MASS, "subject": "Newsletter"}, comment="clearer")
    status, told = door.approver.post(f"/actions/{action.pk}/decision", body)
    assert (status, told["action"]["revision"], told["action"]["args"]["subject"]) == (200, 2, "Newsletter")


def test_arguments_with_a_rejection_make_no_sense(door: Door) -> None:
    action = door.cast.mass_mail()
    assert door.approver.post(f"/actions/{action.pk}/decision", vote("reject", action, args={}))[0] == 422


def test_a_destructive_call_needs_its_target_typed(door: Door) -> None:
    action = door.cast.deploy()
    path = f"/actions/{action.pk}/decision"
    assert door.approver.post(path, vote("approve", action))[0] == 422
    assert door.approver.post(path, vote("approve", action, confirm="staging"))[0] == 422
    assert door.approver.post(path, vote("approve", action, confirm="production"))[0] == 200


def test_a_quorum_of_two_needs_two(door: Door) -> None:
    action = door.cast.order()
    path = f"/actions/{action.pk}/decision"
    assert door.approver.post(path, vote("approve", action))[1]["effect"] == "counted"
    assert door.approver.post(path, vote("approve", action))[0] == 409
    [row] = door.second.get("/inbox")[1]["actions"]
    assert [item["user"] for item in row["votes"]] == ["ada"]
    assert door.second.post(path, vote("approve", action))[1]["effect"] == "approved"


def test_a_reviewer_polls_what_the_inbox_shows(door: Door) -> None:
    action = door.cast.mass_mail()
    status, told = door.approver.get(f"/actions/{action.pk}")
    assert (status, told["agent"], told["target"]) == (202, "scout", action.target)


def test_an_approval_for_a_while_is_listed_and_revoked(door: Door) -> None:
    first = door.cast.mass_mail()
    status, told = door.approver.post(f"/actions/{first.pk}/decision", vote("approve", first, for_minutes=5))
    assert (status, told["allowance"]["by"], told["allowance"]["same"]) == (200, "ada", ["to"])
    again = door.cast.mass_mail(session=first.session)
    assert again.state == "ready"
    [row] = door.approver.get("/allowances")[1]["allowances"]
    assert (row["id"], row["rules"], row["may_revoke"]) == (told["allowance"]["id"], ["mass-mail"], True)
    assert door.stranger.get("/allowances")[1]["allowances"] == []
    assert door.stranger.delete(f"/allowances/{row['id']}")[0] == 404
    assert door.auditor.delete(f"/allowances/{row['id']}")[0] == 403
    assert [door.approver.delete(f"/allowances/{row['id']}")[0] for _ in range(2)] == [204, 204]
    assert door.approver.get("/allowances")[1]["allowances"] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"for_minutes": 0},
        {"for_minutes": "5"},
        {"for_minutes": 61},
        {"for_minutes": True},
        {"for_minutes": 5, "args": {}},
    ],
)
def test_a_wrong_while_decides_nothing(door: Door, wrong: dict[str, object]) -> None:
    action = door.cast.mass_mail()
    assert door.approver.post(f"/actions/{action.pk}/decision", vote("approve", action, **wrong))[0] in (
        400,
        422,
    )
    action.refresh_from_db()
    assert action.state == "pending"


def test_many_alike_are_decided_in_one_call_and_one_that_changed_touches_no_other(door: Door) -> None:
    one, other = door.cast.mass_mail(), door.cast.mass_mail()
    items = [
        {"action": str(one.pk), "digest": "0" * 64},
        {"action": str(other.pk), "digest": other.digest},
    ]
    status, told = door.approver.post("/decisions", {"verdict": "approve", "items": items})
    assert (status, told["done"], told["refused"]) == (200, 1, 1)
    assert [(each["effect"], each["code"]) for each in told["results"]] == [
        ("refused", "conflict"),
        ("approved", None),
    ]


def test_many_that_are_not_alike_are_refused_naming_the_odd_one(door: Door) -> None:
    actions = [door.cast.mass_mail(), door.cast.mass_mail(), door.cast.order()]
    items = [{"action": str(action.pk), "digest": action.digest} for action in actions]
    status, told = door.approver.post("/decisions", {"verdict": "approve", "items": items})
    assert (status, told["odd"]) == (422, [str(actions[2].pk)])


@pytest.mark.parametrize(
    "wrong", [{"items": []}, {"verdict": "edit"}, {"args": {}}, {"items": [{"action": "x", "digest": "y"}]}]
)
def test_a_wrong_call_for_many_decides_nothing(door: Door, wrong: dict[str, object]) -> None:
    action = door.cast.mass_mail()
    items = [{"action": str(action.pk), "digest": action.digest}]
    assert door.approver.post("/decisions", {"verdict": "approve", "items": items} | wrong)[0] == 422
    action.refresh_from_db()
    assert action.state == "pending"


def test_an_agent_decides_nothing_in_a_heap(door: Door) -> None:
    action = door.cast.mass_mail()
    items = [{"action": str(action.pk), "digest": action.digest}]
    assert door.agent.post("/decisions", {"verdict": "approve", "items": items})[0] == 403
