"""For tools that the agent runs itself: handing out the grant is the start.

`take` is called when the agent asks for its action. Exactly one caller gets the private half of a credential,
in that one answer; it is stored nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from approvals import execution, outputs
from approvals.models import Action
from approvals.starting import Started
from policies import grants
from policies.models import Agent, Grant
from traces.problems import Refused

HANDED_OUT = ("agent", "credential")


@dataclass(frozen=True)
class Handout:
    """A grant as the agent's answer shows it; `credentials` only in the answer that started the action."""

    grant: Grant
    credentials: dict[str, Any] = field(default_factory=dict, repr=False)

    def to_json(self) -> dict[str, Any]:
        told = {
            "id": str(self.grant.pk), "issuer": self.grant.issuer,
            "expires_at": self.grant.expires_at.isoformat(),
            "digest": self.grant.digest,
        }  # fmt: skip
        return told | ({"credentials": self.credentials} if self.credentials else {})


def take(action_id: UUID | str, *, agent: Agent) -> Handout | None:
    """The grant of an action of this agent, started now if it is ready; None while there is none.

    Appends what a start appends. Raises Refused("unavailable") when the issuer cannot make the privilege; the
    action has then failed and nothing was left behind.
    """
    action = Action.objects.filter(pk=action_id, agent=agent, runs__in=HANDED_OUT).first()
    if action is None:
        return None
    if action.state == Action.State.RUNNING:
        return _known(action)
    if action.state != Action.State.READY:
        return None
    try:
        begun = execution.start_when_covered(action_id=action.pk, worker=f"agent:{agent.pk}")
    except Refused as refused:
        if refused.code != "conflict":
            raise
        return _known(action)  # another request of this agent was first
    return _issue(begun) if isinstance(begun, Started) else None


def _known(action: Action) -> Handout | None:
    grant = grants.alive(action_id=action.pk)
    return Handout(grant) if grant is not None else None


def _issue(begun: Started) -> Handout:
    try:
        handed = grants.issue(begun.grant)
    except Refused as refused:
        grants.revoke(grant=begun.grant, why="it could not be made")
        execution.finish(begun.execution, outputs.failure(refused.detail))
        raise
    return Handout(begun.grant, {**handed.public, **handed.private})
