"""Ending what was let through: a running job stops, a handed-out privilege is taken back, what waits for its
time is called off.

The wish is one entry of the log and one mark on the execution, in one transaction. Whoever runs the job looks
for that mark; what no worker runs is ended here at once, and again by the clock, should this process die.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction

from approvals import decisions, results, reviewing, states
from approvals.models import Action, Execution
from policies import grants
from policies.access import Verb, actor, may
from policies.models import Agent, Grant, User
from traces import record
from traces.problems import Refused

S = Action.State
KEPT = 150  # what a row holds of who stopped it and why; the log holds all of it
LONGEST_WHY = 500
HANDED_OUT = ("agent", "credential")
BATCH = 200
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stop:
    """What came of it. `effect` is cancelled (it never starts) or stopping (it ends within a second)."""

    action: Action
    effect: str
    message: str


def stop(*, action_id: UUID | str, user: User, why: str = "") -> Stop:
    """A person ends what runs, or calls off what has not started yet.

    Locks the action, then its session. Appends `action.cancelled` or `action.stopping`, and then what the end
    appends. Raises Refused: not_found (who may neither see nor stop it), forbidden, conflict (it waits for a
    decision, has ended, or was stopped already), invalid (words that cannot be kept).
    """
    said = reviewing.worded(why, longest=LONGEST_WHY)
    with transaction.atomic():
        action = _theirs(user, action_id)
        if action.state == S.PENDING:
            raise Refused("conflict", "it waits for a decision: reject it instead", state=action.state)
        done = _stop(action, by=actor(user), name=user.username, why=said)
    return _ended(done)


def stop_own(*, action_id: UUID | str, agent: Agent, why: str = "") -> Stop:
    """An agent ends a call of its own, whatever its state; else as `stop`."""
    said = reviewing.worded(why, longest=LONGEST_WHY)
    with transaction.atomic():
        action = states.lock(action_id)
        if action.agent_id != agent.pk:
            raise Refused("not_found", "no such action")
        if action.state == S.PENDING:
            return Stop(decisions.cancel(action_id=action.pk, agent=agent), "cancelled", "Cancelled.")
        done = _stop(action, by=f"agent:{agent.pk}", name=agent.name, why=said)
    return _ended(done)


def enforce() -> int:
    """End what was told to stop and no worker runs; how much there was. For the clock."""
    asked = Execution.objects.filter(ended_at=None, action__runs__in=HANDED_OUT).exclude(stop_requested="")
    found = list(asked.select_related("action")[:BATCH])
    for execution in found:
        _take_back(execution.action)
    return len(found)


def _theirs(user: User, action_id: UUID | str) -> Action:
    """The action with its row locked, if this person may stop it."""
    action = states.lock(action_id)
    about: dict[str, Any] = {"team": action.team, "groups": action.groups}
    access = may(user, Verb.ACTION_STOP, **about)
    if not access.allowed:
        seen = may(user, Verb.ACTION_READ, **about).allowed
        raise Refused("forbidden", access.why) if seen else Refused("not_found", "no such action")
    return action


def _stop(action: Action, *, by: str, name: str, why: str) -> Stop:
    told = f"stopped by {name}" + (f": {why}" if why else "")
    if action.state == S.READY:
        states.move(
            action, to=S.CANCELLED, actor=by, decided_by=name, decision_reason=told,
            body={"by": name, "why": why},
        )  # fmt: skip
        return Stop(action, "cancelled", "Cancelled. It does not run.")
    if action.state != S.RUNNING:
        raise Refused("conflict", states.already(action), state=action.state)
    running = Execution.objects.filter(action=action, fence=action.fence, ended_at=None)
    if running.filter(stop_requested="").update(stop_requested=told[:KEPT]) != 1:
        raise Refused("conflict", "it is being stopped already", state=action.state)
    record.append(
        kind="action.stopping", actor=by, session=action.session, action=str(action.pk),
        body={"by": name, "why": why, "fence": action.fence}, title=f"{action.tool}: to be stopped", text=why,
    )  # fmt: skip
    states.announce(action)
    return Stop(action, "stopping", "It is being stopped.")


def _ended(done: Stop) -> Stop:
    if done.effect == "stopping" and done.action.runs in HANDED_OUT:
        _take_back(done.action)
        done.action.refresh_from_db()
    return done


def _take_back(action: Action) -> None:
    """End the privilege, and with it the action; one that cannot be ended now is tried again."""
    for grant in Grant.objects.filter(action_id=action.pk, fence=action.fence):
        try:
            grants.revoke(grant=grant, why="its action was stopped")
            results.settle(grant)
        except Refused as refused:
            logger.info("action %s: %s", action.pk, refused.detail)
