"""What ends an action that was let through, and what puts one that was interrupted before people again."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from ninja import Router

from agentsec_site.gateway import auth
from agentsec_site.gateway.replies import reply
from agentsec_site.gateway.schemas import ERRORS, NOTHING, DecisionOut, Nothing, StopIn, StopOut
from approvals import answers, decisions, stopping

router = Router(tags=["actions"])
UNSAID = StopIn(why="")


@router.post("/actions/{uuid:action_id}/stop", auth=auth.anyone, response={200: StopOut, **ERRORS})
def stop(request: HttpRequest, action_id: UUID, body: StopIn = UNSAID) -> HttpResponse:
    """Stop what runs, or call off what has not started: an agent its own calls, a person what they may.

    A job is killed within a second; poll the action to see how it ended. A privilege is taken back.
    """
    caller = auth.caller(request)
    if isinstance(caller, auth.PersonCaller):
        done = stopping.stop(action_id=action_id, user=caller.user, why=body.why)
    else:
        caller.must("act")
        done = stopping.stop_own(action_id=action_id, agent=caller.agent, why=body.why)
    action = done.action
    return reply(
        {"effect": done.effect, "message": done.message, "id": str(action.pk), "state": action.state}
    )


@router.post("/actions/{uuid:action_id}/again", auth=auth.people, response={200: DecisionOut, **ERRORS})
def again(request: HttpRequest, action_id: UUID, body: Nothing = NOTHING) -> HttpResponse:
    """Put an interrupted action before people again: it runs only by new votes."""
    decision = decisions.run_again(action_id=action_id, user=auth.person(request))
    told = {"effect": decision.effect, "message": decision.message}
    return reply(told | {"action": answers.answer(decision.action)})
