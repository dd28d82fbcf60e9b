"""What an agent says of an action that it ran itself, and privileges given back early."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from approvals import execution, outputs, states
from approvals.models import Action, Execution
from policies import grants
from policies.models import Agent, Grant
from traces.problems import Refused

STATUSES = ("succeeded", "failed")


def report(
    *,
    agent: Agent,
    action_id: UUID | str,
    status: str,
    output: Any,
    grant: UUID | str | None = None,
    attested: bool = False,
) -> Action:
    """The agent's result: inspected, recorded, and the grant ends.

    `attested` says that the reporting key is the host application's, whose word on a trusted tool counts.
    Locks the action, then its session. Appends `action.output`, `action.<status>`, `grant.revoked`.
    Raises Refused: not_found (another agent's), conflict (not running), gone (the grant has ended or is
    another).
    """
    action = _own(agent, action_id)
    if action.runs not in ("agent", "credential"):
        raise Refused("conflict", "agentsec runs this action itself and knows its result")
    if action.state != Action.State.RUNNING:
        raise Refused("conflict", states.already(action), state=action.state)
    held = grants.alive(action_id=action.pk)
    if held is None or (grant is not None and str(held.pk) != str(grant)):
        raise Refused("gone", "the grant of this action has ended")
    _refuse_status(status)
    grants.use(action_id=action.pk, digest=action.digest, fence=action.fence)
    error = "" if status == "succeeded" else "the agent reports a failure"
    _end(
        action,
        outputs.Output(not error, "reported by agent", {"output": output}, error=error, attested=attested),
    )
    grants.revoke(grant=held, why="the agent reported its result")
    action.refresh_from_db()
    return action


def give_back(*, agent: Agent, grant_id: UUID | str) -> Grant:
    """End a grant early; its action ends with it. Raises Refused("not_found"), or unavailable when the issuer
    could not take the privilege back at once (it is tried again until it can).
    """
    grant = Grant.objects.filter(pk=grant_id, agent=agent).first()
    if grant is None:
        raise Refused("not_found", "no such grant")
    gone = grants.revoke(grant=grant, why="given back by the agent", actor=f"agent:{agent.pk}")
    settle(grant)
    if not gone:
        raise Refused(
            "unavailable", "the privilege could not be taken back yet; this is tried again until it can"
        )
    grant.refresh_from_db()
    return grant


def settle(grant: Grant) -> None:
    """End the action whose grant has ended without a result.

    A credential has then served its time, which is success; of a call that the agent was to make itself
    nobody
    knows what came of it, which is `interrupted`. What somebody stopped says who did.
    """
    action = Action.objects.filter(pk=grant.action_id, state=Action.State.RUNNING, fence=grant.fence).first()
    if action is None or action.runs not in ("agent", "credential"):
        return
    stopped = Execution.objects.get(action=action, fence=action.fence).stop_requested
    try:
        if action.runs == "credential":
            _end(action, outputs.Output(not stopped, "stopped" if stopped else "credential ended",
                                        {"output": None}, error=stopped))  # fmt: skip
        else:
            why = stopped or "no result came before the grant ended"
            execution.interrupt(action_id=action.pk, fence=grant.fence, why=why)
    except Refused as refused:
        if refused.code != "conflict":
            raise


def _end(action: Action, output: outputs.Output) -> None:
    execution.finish(Execution.objects.get(action=action, fence=action.fence), output)


def _refuse_status(status: str) -> None:
    if status not in STATUSES:
        raise Refused("invalid", f"status is one of {', '.join(STATUSES)}")


def _own(agent: Agent, action_id: UUID | str) -> Action:
    action = Action.objects.select_related("session", "agent").filter(pk=action_id, agent=agent).first()
    if action is None:
        raise Refused("not_found", "no such action")
    return action
