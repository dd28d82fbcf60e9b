"""Plans for reviewers: made once for each revision that waits, in a worker, and never by looking at a page.

EXPLAIN does not execute; it runs all the same as a role of its own that lives a minute and has no more than
the statement needs, in a read-only transaction, after the same reading that comes before a run.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from approvals import states
from approvals.models import Action
from approvals.sql import broker, plain, plan
from approvals.sql.plain import NotPlain, Plain
from approvals.sql.watching import watched
from approvals.sql_models import StatementPlan
from policies import grants, limits, plan_grants, releases
from policies.issuers import IssuerFailed, postgres
from policies.models import Grant
from policies.tooling import ToolDef
from traces import record
from traces.problems import Refused

RUNS = "sql"
SECONDS, LOCK_SECONDS = 3.0, 1.0
MEMORY = 64 << 20
AT_ONCE = 4  # of those that wait in the queue, so that no agent fills it with plans
LOST_AFTER = timedelta(seconds=30)
NAME = "agentsec plan"
logger = logging.getLogger(__name__)
S = StatementPlan.State


def wanted() -> QuerySet[Action]:
    """Actions that wait for people without a plan of what they are now."""
    of_this = StatementPlan.objects.filter(action=OuterRef("pk"), digest=OuterRef("digest"))
    return Action.objects.pending().filter(~Exists(of_this), runs=RUNS)


def of(action: Action) -> StatementPlan | None:
    """The plan of the action as it is now, if it was made or is being made. Changes nothing."""
    return StatementPlan.objects.filter(action=action, digest=action.digest).first()


def told(action: Action) -> dict[str, Any] | None:
    """The plan as JSON for a reviewer: `state` waiting, made or none, `why` there is none; None where the
    action runs no statement. Changes nothing.
    """
    if action.runs != RUNS:
        return None
    row = of(action)
    if row is None or row.state == S.MAKING:
        return {"state": "waiting" if action.state == Action.State.PENDING else "none", "why": ""}
    return {"state": row.state, "why": row.why} | (row.plan if row.state == S.MADE else {})


def give_up_lost(now: datetime) -> int:
    """Plans whose maker is gone."""
    lost = StatementPlan.objects.filter(state=S.MAKING, at__lt=now - LOST_AFTER)
    return lost.update(state=S.NONE, why="the worker that made it is gone")


def make(*, action_id: UUID) -> str:
    """Make the plan of an action that waits, once; returns what came of it, for the worker's log.

    Appends `grant.minted`, `grant.revoked` and `plan.made`.
    """
    action = wanted().select_related("agent", "agent__team", "session").filter(pk=action_id).first()
    if action is None:
        return "no plan is wanted"
    row = StatementPlan(action=action, digest=action.digest)
    StatementPlan.objects.bulk_create([row], ignore_conflicts=True)
    if not StatementPlan.objects.filter(pk=row.pk).exists():
        return "another makes it"
    return _store(row, action, *_made(row, action))


def _made(row: StatementPlan, action: Action) -> tuple[plan.Plan | None, str]:
    """The plan, or why there is none."""
    try:
        tool = releases.current().tool(action.tool)
        if tool.manifest != action.manifest:
            return None, "the tool's definition changed since this was judged"
        limits.check_running(action.agent, tool=tool.name)
        statement = plain.statement(tool.config, action.args)
        return _explained(row, action, tool, statement), ""
    except Refused as refused:
        return None, refused.detail
    except (NotPlain, IssuerFailed) as error:
        return None, str(error)
    except Exception:
        logger.exception("the plan of action %s was not made", action.pk)
        return None, "agentsec failed while it made this; see the worker's log"


def _explained(row: StatementPlan, action: Action, tool: ToolDef, statement: Plain) -> plan.Plan:
    grant = plan_grants.mint(
        plan_id=row.pk, action_id=action.pk, agent=action.agent, session=action.session, tool=tool.name,
        config=_least(tool.config, statement), args=action.args, digest=action.digest,
    )  # fmt: skip
    try:
        return _look(grant, statement)
    finally:
        grants.revoke(grant=grant, why="the plan was made")


def _least(config: Mapping[str, Any], statement: Plain) -> dict[str, Any]:
    """The tool's config, with no operation beyond those of the statement; a change has to find its rows."""
    allowed = config.get("operations") or ["select"]
    return dict(config) | {"operations": [o for o in allowed if o == "select" or o in statement.operations]}


def _look(grant: Grant, statement: Plain) -> plan.Plan:
    handed, never = grants.issue(grant), threading.Event()
    with (
        postgres.entered(grant.scope, handed.private, NAME) as connection,
        watched(connection, stop=never, seconds=2 * SECONDS, memory=MEMORY) as watch,
    ):
        try:
            broker.begin(connection, writes=False, seconds=SECONDS, lock_seconds=LOCK_SECONDS)
            return plan.checked(connection, statement)
        except psycopg.Error as error:
            raise NotPlain(str(broker.ended(error, watch))) from None
        finally:
            connection.close()  # rolled back, whatever it was


@transaction.atomic
def _store(row: StatementPlan, action: Action, made: plan.Plan | None, why: str) -> str:
    row.state, row.why = (S.MADE if made else S.NONE), why[:1000]
    row.plan_json = json.dumps(made.to_json()) if made else ""
    row.save()
    body = {"digest": row.digest, "plan": made.to_json() if made else None, "why": row.why}
    record.append(
        kind="plan.made", actor=states.AGENTSEC, session=action.session, action=str(action.pk), body=body,
        title=f"{action.tool}: {'its plan' if made else 'no plan'}",
    )  # fmt: skip
    return f"plan: {row.why or row.state}"
