"""Reviewers together over REST, and the agent that is asked."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from approvals import claims, questions
from approvals.models import Action, Question
from tests.cast import MANY, person
from tests.gateway.conftest import Door

MAIL = {"to": MANY, "subject": "News", "body": "Hello"}


def asked(door: Door) -> dict[str, Any]:
    """An action that waits, with a question to its agent."""
    told: dict[str, Any] = door.agent.propose("email.send", MAIL)[1]
    assert door.approver.post(f"/actions/{told['id']}/questions", {"text": "Which list?"})[0] == 200
    return told


def test_a_claim_is_taken_and_let_go(door: Door) -> None:
    action = door.agent.propose("email.send", MAIL)[1]
    assert door.approver.post(f"/actions/{action['id']}/claim")[1]["claim"]["by"] == "ada"
    assert door.approver.get("/inbox")[1]["actions"][0]["claim"]["by"] == "ada"
    assert door.approver.delete(f"/actions/{action['id']}/claim")[1]["claim"] is None


def test_deciding_despite_a_claim_is_accepted_and_says_so(door: Door) -> None:
    action = door.agent.propose("email.send", MAIL)[1]
    claims.claim(action_id=action["id"], user=person("mina", "comms"))
    assert door.approver.post(f"/actions/{action['id']}/claim")[0] == 409
    body = {"verdict": "approve", "digest": action["digest"]}
    status, told = door.approver.post(f"/actions/{action['id']}/decision", body)
    assert (status, told["effect"], told["claim"]["by"]) == (200, "approved", "mina")


def test_the_agent_reads_the_question_and_answers_it(door: Door) -> None:
    action = asked(door)
    [question] = door.agent.get(f"/actions/{action['id']}")[1]["questions"]
    said = {"question": question["id"], "text": "The subscribers of May."}
    status, told = door.agent.post(f"/actions/{action['id']}/answers", said)
    assert (status, told["questions"][0]["answer"], told["digest"]) == (200, said["text"], action["digest"])
    assert door.approver.get(f"/actions/{action['id']}")[1]["questions"][0]["answer"] == said["text"]


def test_only_its_own_agent_answers(door: Door) -> None:
    action = asked(door)
    said = {"question": str(Question.objects.get().pk), "text": "Yes."}
    for caller, status in ((door.other, 404), (door.approver, 403), (door.stranger, 403)):
        assert caller.post(f"/actions/{action['id']}/answers", said)[0] == status
    unknown = {**said, "question": action["id"]}
    assert door.agent.post(f"/actions/{action['id']}/answers", unknown)[0] == 404
    assert Question.objects.get().answered_at is None


def test_people_only_ask_claim_and_hand_on_what_is_theirs(door: Door) -> None:
    action = door.agent.propose("email.send", MAIL)[1]["id"]
    handed = {"group": "comms", "to": "finance", "reason": "away"}
    for path, body in (("questions", {"text": "Why?"}), ("claim", {}), ("delegation", handed)):
        assert door.stranger.post(f"/actions/{action}/{path}", body)[0] == 404
        assert door.auditor.post(f"/actions/{action}/{path}", body)[0] == 403
        assert door.agent.post(f"/actions/{action}/{path}", body)[0] == 403


def test_handing_on_lets_the_other_group_decide(door: Door) -> None:
    action = door.agent.propose("email.send", MAIL)[1]
    body = {"group": "comms", "to": "finance", "reason": "away"}
    assert door.approver.post(f"/actions/{action['id']}/delegation", body)[0] == 200
    vote = {"verdict": "approve", "digest": action["digest"]}
    assert door.second.post(f"/actions/{action['id']}/decision", vote)[1]["effect"] == "approved"


def test_a_rejection_with_advice_reaches_the_agent(door: Door) -> None:
    action = door.agent.propose("email.send", MAIL)[1]
    no = {"verdict": "reject", "digest": action["digest"], "comment": "too many", "advice": "Ask first."}
    assert door.approver.post(f"/actions/{action['id']}/decision", {**no, "verdict": "approve"})[0] == 422
    door.approver.post(f"/actions/{action['id']}/decision", no)
    told = door.agent.get(f"/actions/{action['id']}")[1]
    assert told["rejection"] == {"reason": "too many", "advice": "Ask first."}


def test_a_question_is_news_once(door: Door) -> None:
    action = Action.objects.get(pk=asked(door)["id"])
    assert questions.deliver(action) and not questions.deliver(action)
    assert Question.objects.get().told_at is not None


def test_who_only_attests_takes_no_question_away_from_the_agent(door: Door) -> None:
    action = asked(door)
    key = door.cast.host_key
    key.scopes = ["attest"]
    key.save()
    assert door.host.get(f"/actions/{action['id']}")[1]["questions"]
    assert Question.objects.get().told_at is None


def test_a_long_poll_wakes_up_with_a_question_and_then_waits_again(
    http: httpx.Client, committed_door: Door
) -> None:
    action = committed_door.agent.propose("email.send", MAIL)[1]["id"]
    with ThreadPoolExecutor(1) as pool:
        poll = pool.submit(http.get, f"/actions/{action}", params={"wait": 30})
        time.sleep(0.3)
        began = time.monotonic()
        questions.ask(action_id=action, user=committed_door.cast.approver, text="Which list?")
        answer = poll.result(20)
        assert time.monotonic() - began < 10
    assert (answer.status_code, answer.json()["questions"][0]["text"]) == (202, "Which list?")
    again = http.get(f"/actions/{action}", params={"wait": 0.5})
    assert again.status_code == 202 and again.elapsed.total_seconds() >= 0.5
