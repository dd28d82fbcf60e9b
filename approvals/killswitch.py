"""The kill switch, pulled: what runs in its scope is stopped, what was granted there is taken back.

A switch is one row that every process asks before anything comes in or starts (`policies.limits`). What was
under way when it was thrown ends here: at once by whoever threw it, again by the clock as long as it stays
thrown, and by each worker that looks at its own job. Any one of the three is enough.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from django.db.models import Q, QuerySet

from approvals import results
from approvals.models import Action, Execution
from policies import grants, limits
from policies.models import Agent, Grant, Switch
from traces.problems import Refused

BATCH = 500
logger = logging.getLogger(__name__)


def throw(*, scope: str, reason: str, by: str) -> Switch:
    """Stop what the scope names, now: no proposal comes in, nothing starts, running jobs and grants end.

    Scopes as in `limits.stop`. Appends `switch.thrown` and what stopping appends. Raises Refused: invalid
    (no scope, no reason), not_found where no such agent or group exists, since a misspelt name stops nothing.
    A tool may be one that nobody declared.
    """
    if not reason.strip():
        raise Refused("invalid", "Say why: whoever finds it stopped has to know.")
    _refuse_unknown(scope)
    switch = limits.stop(scope=scope, reason=reason.strip(), by=by)
    enforce()
    return switch


def enforce() -> int:
    """Stop everything under way that a thrown switch covers; how much was told to stop."""
    found = 0
    for switch in Switch.objects.order_by("pk"):
        why = limits.stopped_by(switch)
        stopping = Execution.objects.filter(ended_at=None, stop_requested="", action__in=_running(switch))
        found += stopping.update(stop_requested=why[:150])
        found += _take_back(_grants(switch), why)
    return found


def _take_back(held: Iterable[Grant], why: str) -> int:
    ended = 0
    for grant in held:
        try:
            ended += grants.revoke(grant=grant, why=why[:300])
            results.settle(grant)
        except Refused as refused:
            # Its action ended meanwhile; the others must still be stopped.
            logger.info("grant %s: %s", grant.pk, refused.detail)
    return ended


def _running(switch: Switch) -> QuerySet[Action]:
    return Action.objects.filter(_covered(switch.scope), state=Action.State.RUNNING)


def _grants(switch: Switch) -> list[Grant]:
    held = Grant.objects.filter(_covered(switch.scope), state=Grant.State.ACTIVE)
    return list(held.order_by("minted_at")[:BATCH])


def _covered(scope: str) -> Q:
    """Actions or grants, which name their agent and their tool alike."""
    kind, _, name = scope.partition(":")
    fields = {"agent": "agent__name", "group": "agent__team__name", "tool": "tool"}
    return Q() if scope == limits.EVERYTHING else Q(**{fields[kind]: name})


def _refuse_unknown(scope: str) -> None:
    kind, _, name = scope.partition(":")
    known = {"agent": Agent.objects.filter(name=name), "group": Agent.objects.filter(team__name=name)}
    if name and kind in known and not known[kind].exists():
        where = "has agents" if kind == "group" else "exists"
        raise Refused("not_found", f"No {kind} called {name} {where}, so that would stop nothing.")
