"""`runs: sql`: one statement, that the tool's definition fixes or the one in the argument `sql`.

A broker in the worker signs in as the role of the action's grant and runs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from django.db import transaction

from approvals import states
from approvals.executors.base import NotRunnable, Running
from approvals.models import Action, Execution
from approvals.outputs import Output
from approvals.sql import broker, plain
from policies import grants
from policies.issuers import IssuerFailed, postgres
from traces.problems import Refused

NAME = "agentsec sql"


def execute(running: Running) -> Output:
    """Run the call's statement. Raises NotRunnable, NotPlain and Refused for what cannot run."""
    tool, grant = running.tool, running.grant
    if grant.issuer != "postgres":
        raise NotRunnable(f"{tool.name} names no `issuer: postgres`, whose role a statement runs under")
    statement, bounds = plain.statement(tool.config, running.action.args), broker.Bounds.of(tool.config)
    handed = grants.issue(grant)
    gates = broker.Gates(still=partial(_still_ours, running), stop=running.stop)
    try:
        with postgres.entered(grant.scope, handed.private, NAME) as connection:
            answer = broker.run(connection, statement, bounds, gates)
    except IssuerFailed as failed:
        raise NotRunnable(str(failed)) from None
    except Refused as refused:
        return Output(False, "stopped", {"error": refused.detail}, error=refused.detail)
    except broker.Ended as ended:
        return Output(False, ended.how, {"error": str(ended)}, error=str(ended))
    return Output(True, "done", answer.to_json())


@contextmanager
def _still_ours(running: Running) -> Iterator[None]:
    """Holds this start as it is: while it is entered nobody declares it over, stops it or ends its grant.

    Locks the action, then its execution and its grant. Raises Refused where it is over already.
    """
    with transaction.atomic():
        action = states.lock(running.action.pk)
        fence = running.execution.fence
        if action.state != Action.State.RUNNING or action.fence != fence:
            raise Refused("conflict", f"this start is over: {states.already(action)}")
        mine = Execution.objects.select_for_update(no_key=True).filter(pk=running.execution.pk, ended_at=None)
        execution = mine.first()
        if execution is None or execution.stop_requested:
            why = execution.stop_requested if execution else ""
            raise Refused("forbidden", f"{why or 'this start is over'}: nothing was changed")
        running.last_look(0)
        grants.hold(action_id=action.pk, fence=fence)
        yield
