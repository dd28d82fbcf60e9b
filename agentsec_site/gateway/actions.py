"""The calls about actions: propose, poll, report a result, cancel, decide is in `reviewer`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from agentsec_site.gateway import auth, problems, reviewer
from agentsec_site.gateway.intake import read
from agentsec_site.gateway.replies import download, reply
from agentsec_site.gateway.schemas import (
    ERRORS,
    NOTHING,
    ActionIn,
    ActionOut,
    Key,
    Nothing,
    Raw,
    ResultIn,
    Wait,
)
from agentsec_site.gateway.waiting import Seen, in_thread, settle
from approvals import answers, decisions, files, handout, pipeline, queries, questions, results
from approvals.models import Action
from policies.models import Agent
from traces import dbtime
from traces.problems import Invalid, NotFound

RECHECK_SECONDS = 1.0

ACTION_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": ActionIn.model_json_schema()}},
    }
}

router = Router(tags=["actions"])


@router.post(
    "/actions", auth=auth.agents, response={(200, 202): ActionOut, **ERRORS}, openapi_extra=ACTION_BODY
)
async def propose(request: HttpRequest) -> HttpResponse:
    """Propose a call. 200 when it is final or the grant is in the answer, 202 to poll, 403 when policy blocks
    it (the answer, with the verdict, is also the problem document), 429 at a limit.
    """
    caller = auth.agent_caller(request, scope="act")
    action, wait = await in_thread(lambda: _proposed(caller, request))
    if action.state == Action.State.BLOCKED:
        return _blocked(await in_thread(lambda: answers.answer(action)))
    seen = await _settled(request, action.pk, wait)
    response = _answer(seen)
    response["Location"] = f"/api/v1/actions/{action.pk}"
    return response


@router.get(
    "/actions/{uuid:action_id}",
    auth=auth.anyone,
    response={(200, 202): ActionOut, **ERRORS},
    url_name="action",
)
async def poll(request: HttpRequest, action_id: UUID, wait: Wait = Query(0.0)) -> HttpResponse:
    """The action as it stands; with `wait`, as soon as it is final or its grant can be handed out.

    An agent sees its own actions only, a person those that the inbox shows them.
    """
    return _answer(await _settled(request, action_id, wait))


@router.get("/actions/lookup", auth=auth.agents, response={(200, 202): ActionOut, **ERRORS})
async def look_up(
    request: HttpRequest,
    session: UUID,
    tool_call_id: Key = Query(""),
    idempotency_key: Key = Query(""),
    wait: Wait = Query(0.0),
) -> HttpResponse:
    """The agent's own action by the id that the call had, or by its idempotency key, as polling it gives it:
    for an agent that lost the answer in which it was told the action's id.
    """
    caller = auth.agent_caller(request)
    wanted = {"tool_call_id": tool_call_id, "idempotency_key": idempotency_key}
    found = await in_thread(lambda: _called(caller.agent, session, wanted))
    return _answer(await _settled(request, found, wait))


@router.post("/actions/{uuid:action_id}/result", auth=auth.agents, response={200: ActionOut, **ERRORS})
def report_result(request: HttpRequest, action_id: UUID, body: ResultIn) -> HttpResponse:
    """For tools that the agent runs: what came of it, under the grant.

    The output is inspected and labels the session.
    """
    caller = auth.agent_caller(request, scope="act")
    _own(caller.agent, action_id)
    action = results.report(
        agent=caller.agent,
        action_id=action_id,
        status=body.status,
        output=body.output,
        grant=body.grant,
        attested=caller.key.attests,
    )
    return reply(answers.answer(action))


@router.post("/actions/{uuid:action_id}/cancel", auth=auth.agents, response={200: ActionOut, **ERRORS})
def cancel(request: HttpRequest, action_id: UUID, body: Nothing = NOTHING) -> HttpResponse:
    """Take a call back before it has started."""
    caller = auth.agent_caller(request, scope="act")
    return reply(answers.answer(decisions.cancel(action_id=action_id, agent=caller.agent)))


@router.get(
    "/actions/{uuid:action_id}/artifacts/{path:name}", auth=auth.anyone, response={200: Raw, **ERRORS}
)
def artifact(request: HttpRequest, action_id: UUID, name: str) -> HttpResponse:
    """A file that the action left, as a download."""
    caller = auth.caller(request)
    if isinstance(caller, auth.AgentCaller):
        _own(caller.agent, action_id)
    else:
        queries.get_visible(caller.user, action_id)
    found = files.artifact(action_id=action_id, name=name)
    return download(bytes(found.blob.content), name=name.rpartition("/")[2])


def _proposed(caller: auth.AgentCaller, request: HttpRequest) -> tuple[Action, float]:
    """The action that a body proposes, and how long its sender will wait for it."""
    body = read(request, ActionIn)
    action = pipeline.propose(
        agent=caller.agent, key=caller.key, session_id=body.session, tool=body.tool, args=body.args,
        reason=body.reason, tool_call_id=body.tool_call_id, not_before=body.not_before,
        idempotency_key=body.idempotency_key,
    )  # fmt: skip
    return action, body.wait


async def _settled(request: HttpRequest, action_id: UUID, wait: float) -> Seen:
    return await settle(
        topic=f"action:{action_id}",
        look=lambda: _look(auth.caller(request), action_id),
        look_again=lambda: _look(auth.again(request), action_id),
        seconds=wait,
    )


def _look(caller: auth.Caller, action_id: UUID) -> Seen:
    """What the caller sees now. An agent that may act takes the grant as soon as there is one; a person, or
    a key that only attests, never does.
    """
    if isinstance(caller, auth.PersonCaller):
        return reviewer.look(action_id, caller.user)
    acts = "act" in caller.key.scopes
    handed = handout.take(action_id, agent=caller.agent) if acts else None
    action = _own(caller.agent, action_id)
    body = answers.answer(action, handout=handed)
    status = 200 if handed is not None or not action.is_open else 202
    news = acts and questions.deliver(action)
    return Seen(status, body, _again_in(action), news=news, mark=questions.counted(action))


def _again_in(action: Action) -> float | None:
    """Nobody announces that `not_before` has come, or that votes now stand under a checkpoint."""
    if action.state != Action.State.READY or action.runs not in ("agent", "credential"):
        return None
    early = (action.not_before - dbtime.now()).total_seconds() if action.not_before else 0.0
    return max(early + 0.01, RECHECK_SECONDS)


def _own(agent: Agent, action_id: UUID) -> Action:
    """The agent's own action; another's is as if it did not exist."""
    action = Action.objects.select_related("session", "agent").filter(pk=action_id, agent=agent).first()
    if action is None:
        raise NotFound("There is no such action.")
    return action


def _called(agent: Agent, session: UUID, wanted: dict[str, str]) -> UUID:
    named = {name: value for name, value in wanted.items() if value}
    if len(named) != 1:
        raise Invalid("Name one of tool_call_id and idempotency_key.")
    mine = Action.objects.filter(agent=agent, session_id=session, **named)
    found = mine.values_list("pk", flat=True).first()
    if found is None:
        raise NotFound("There is no such action.")
    return found


def _answer(seen: Seen) -> HttpResponse:
    return reply(seen.body, status=seen.status)


def _blocked(body: dict[str, Any]) -> HttpResponse:
    return problems.problem("blocked", _why(body), **body)


def _why(body: dict[str, Any]) -> str:
    verdict = body.get("verdict")
    reasons = verdict.get("reasons") if isinstance(verdict, dict) else None
    return " ".join(map(str, reasons)) if reasons else "Policy blocks this call."
