"""Reviewers together, with a personal token: claim, ask the agent, hand on; and the agent's answers."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from ninja import Router
from pydantic import Field

from agentsec_site.gateway import auth, reviewer
from agentsec_site.gateway.replies import reply
from agentsec_site.gateway.schemas import ERRORS, NO_CONTROL, NO_NUL, NOTHING, ActionOut, Id, Nothing, Strict
from approvals import answers, claims, delegating, queries, questions

router = Router(tags=["reviewers"])

Name = Annotated[str, Field(max_length=150, pattern=NO_CONTROL)]


class ClaimIn(Strict):
    over: Name = Field("", description="Whose claim to take over, as you saw it.")


class QuestionIn(Strict):
    text: Annotated[str, Field(min_length=1, max_length=questions.LONGEST_QUESTION, pattern=NO_NUL)]


class AnswerIn(Strict):
    question: Id = Field(description="One of the action's `questions`.")
    text: Annotated[str, Field(min_length=1, max_length=questions.LONGEST_ANSWER, pattern=NO_NUL)]


class DelegationIn(Strict):
    group: Name = Field(description="The group that is asked, which you are in.")
    to: Name = Field(description="The group that may answer for it too.")
    reason: Annotated[str, Field(min_length=1, max_length=delegating.LONGEST_REASON, pattern=NO_NUL)]


CLAIM = ClaimIn(over="")


@router.post("/actions/{uuid:action_id}/claim", auth=auth.people, response={200: ActionOut, **ERRORS})
def claim(request: HttpRequest, action_id: UUID, body: ClaimIn = CLAIM) -> HttpResponse:
    """Say that you decide it: others are told, nobody is locked out. Again: renews it."""
    claims.claim(action_id=action_id, user=auth.person(request), over=body.over)
    return _shown(request, action_id)


@router.delete("/actions/{uuid:action_id}/claim", auth=auth.people, response={200: ActionOut, **ERRORS})
def release(request: HttpRequest, action_id: UUID, body: Nothing = NOTHING) -> HttpResponse:
    """Let go of your claim."""
    claims.release(action_id=action_id, user=auth.person(request))
    return _shown(request, action_id)


@router.post("/actions/{uuid:action_id}/questions", auth=auth.people, response={200: ActionOut, **ERRORS})
def ask(request: HttpRequest, action_id: UUID, body: QuestionIn) -> HttpResponse:
    """Ask the agent something; the action goes on waiting. A long poll wakes up with the answer."""
    questions.ask(action_id=action_id, user=auth.person(request), text=body.text)
    return _shown(request, action_id)


@router.post("/actions/{uuid:action_id}/delegation", auth=auth.people, response={200: ActionOut, **ERRORS})
def delegate(request: HttpRequest, action_id: UUID, body: DelegationIn) -> HttpResponse:
    """Let another group answer for yours too. As many people as before are needed, until the same time."""
    delegating.delegate(
        action_id=action_id, user=auth.person(request), group=body.group, to=body.to, reason=body.reason
    )
    return _shown(request, action_id)


@router.post(
    "/actions/{uuid:action_id}/answers",
    auth=auth.agents,
    response={200: ActionOut, **ERRORS},
    tags=["actions"],
)
def answer(request: HttpRequest, action_id: UUID, body: AnswerIn) -> HttpResponse:
    """Answer a reviewer's question about your action, once. It is inspected, and shown as your own words."""
    caller = auth.agent_caller(request, scope="act")
    said = questions.answer(
        action_id=action_id, agent=caller.agent, question_id=body.question, text=body.text
    )
    return reply(answers.answer(said.action))


def _shown(request: HttpRequest, action_id: UUID) -> HttpResponse:
    user = auth.person(request)
    return reply(reviewer.describe(queries.get_visible(user, action_id), user))
