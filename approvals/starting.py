"""Starting an action: every check again, in the transaction that starts it, then exactly one start.

`ready → running` takes a fencing token from a sequence, writes the execution and the grant, labels the
session, and commits them with the log. Whoever loses the race is told so; a crash later leaves a stale
heartbeat that `recovery` finds.
"""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from approvals import forawhile, later, states, stepup, sworn, voting, word
from approvals.models import Action, Execution
from policies import allowances, arguments, engine, facts, grants, labels, limits, reach, releases
from policies import verdict as verdicts
from policies.models import Grant
from policies.tooling import ToolDef
from policies.trail import note_started
from policies.verdict import unspared
from traces import dbtime, proofs
from traces.models import Entry
from traces.problems import Refused

S = Action.State


@dataclass(frozen=True)
class Started:
    """One start, with all that it may use."""

    action: Action
    execution: Execution
    grant: Grant
    tool: ToolDef


@dataclass(frozen=True)
class Held:
    """Not now: it stays ready. `soon` when waiting a moment is enough (its votes wait for a checkpoint)."""

    why: str
    soon: bool = False


@dataclass(frozen=True)
class Dropped:
    """Not any more: the action left the state ready for the reason given."""

    why: str


@transaction.atomic
def start(*, action_id: UUID | str, worker: str) -> Started | Held | Dropped:
    """Check everything again and start, at most once.

    Locks the action, then its session. Appends `grant.minted`, `action.running` (and `session.labelled`), or
    `action.cancelled`, `action.expired`, `action.pending` when something no longer holds. Raises
    Refused("conflict") when the action is not ready, which is what the loser of a race gets.
    """
    action = states.lock(action_id)
    if action.state != S.READY:
        raise Refused("conflict", states.already(action), state=action.state)
    active = releases.current()
    tool = active.tool(action.tool)
    hindrance = _too_late(action) or _hindrance(action, tool, active)
    if hindrance is not None:
        return hindrance
    held = _held(action, tool)
    return held if held is not None else _begin(action, tool, worker)


@transaction.atomic
def look_ahead(*, action_id: UUID | str) -> Dropped | None:
    """Whether something already keeps a planned action from starting; it then ends, or asks again, now.

    Locks and appends as `start`. Nothing starts.
    """
    action, active = states.lock(action_id), releases.current()
    if action.state != S.READY:
        return None
    return _hindrance(action, active.tool(action.tool), active)


def _hindrance(action: Action, tool: ToolDef, active: releases.Active) -> Dropped | None:
    return (
        _altered(action, tool)
        or _forged(action, tool)
        or _blocked_now(action, tool, active)
        or _votes_gone(action, active)
    )


def _begin(action: Action, tool: ToolDef, worker: str) -> Started | Dropped:
    fence = _next_fence()
    try:
        grant = grants.mint(
            action_id=action.pk, agent=action.agent, session=action.session, tool=tool, args=action.args,
            digest=action.digest, fence=fence,
        )  # fmt: skip
    except Refused as refused:
        return _drop(action, S.CANCELLED, refused.detail)
    execution = Execution.objects.create(action=action, fence=fence, worker=worker)
    if action.allowance is not None:
        allowances.use(action.allowance, action_id=action.pk, session=action.session)
    labels.gather(
        session=action.session,
        labels=tool.labels_given,
        why=f"{tool.name} was started",
        actor=states.AGENTSEC,
    )
    note_started(session=action.session, tool=tool)
    states.move(
        action, to=S.RUNNING, actor=states.AGENTSEC, fence=fence,
        body={"fence": fence, "worker": worker, "grant": str(grant.pk), "manifest": action.manifest},
    )  # fmt: skip
    return Started(action, execution, grant, _confined(action, tool))


def _confined(action: Action, tool: ToolDef) -> ToolDef:
    """The tool with what this action's verdict lets it reach, which is bound by the digest."""
    return reach.confined(tool, verdicts.lines(action.verdict))


def _next_fence() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('approvals_fence')")
        return int(cursor.fetchone()[0])


def _drop(action: Action, to: str, why: str, **fields: Any) -> Dropped:
    states.move(action, to=to, actor=states.AGENTSEC, body={"why": why}, **fields)
    return Dropped(why)


def _too_late(action: Action) -> Dropped | None:
    if action.deadline > dbtime.now():
        return None
    return _drop(action, S.EXPIRED, "it did not start in time", decision_reason="it did not start in time")


def _altered(action: Action, tool: ToolDef) -> Dropped | None:
    """What would run must be what was judged and voted on, bit for bit."""
    if action.manifest != tool.manifest:
        why = "the tool's definition changed since this was judged"
        return _drop(action, S.CANCELLED, why, decision_reason=why)
    call = arguments.call_digest(
        agent=action.agent.name, tool=tool.name, manifest=tool.manifest, args=action.args
    )
    config = _confined(action, tool).config
    digest = arguments.action_digest(
        action=str(action.pk), revision=action.revision, session=str(action.session_id), call=call,
        target=action.target, egress=list(config.get("egress", [])),
        secrets=list(config.get("secrets", [])), files=arguments.files_in(action.args),
        release=action.release,
    )  # fmt: skip
    if hmac.compare_digest(digest, action.digest):
        return None
    why = "the stored action does not match its digest: it was altered outside agentsec"
    return _drop(action, S.CANCELLED, why, decision_reason=why)


def _forged(action: Action, tool: ToolDef) -> Dropped | None:
    """Whom it asked, who approved, and for when, must be what the log holds."""
    counted = voting.tally(action)
    why = sworn.contradiction(action, counted.votes, counted.leaning())
    why = why or stepup.contradiction(action, counted.votes) or word.contradiction(action, counted.words)
    why = why or later.contradiction(action, tool)
    return _drop(action, S.CANCELLED, why, decision_reason=why) if why else None


def _blocked_now(action: Action, tool: ToolDef, active: releases.Active) -> Dropped | None:
    """A release published since must not block it, nor narrow its reach; by the facts of its verdict."""
    if action.release == active.digest:
        return None
    verdict = engine.decide(facts.Facts.from_json(json.loads(action.facts_json)), active.compiled)
    if verdict.effect == "block":
        why = f"the release published meanwhile blocks it: {'; '.join(verdict.reasons)}"
    elif not reach.holds_all(tool, narrower=verdicts.lines(action.verdict), wider=verdict.egress):
        why = "the release published meanwhile lets it reach less than was shown"
    else:
        return None
    return _drop(action, S.CANCELLED, why, decision_reason=why)


def _votes_gone(action: Action, active: releases.Active) -> Dropped | None:
    if action.allowance_id is not None:
        return _allowance_gone(action, active)
    why = voting.unfit(action) if action.approvals else ""
    if not why:
        return None
    voting.void_all(action)
    return _drop(action, S.PENDING, why, decided_by="", deadline=_ask_until(action))


def _ask_until(action: Action) -> datetime:
    waits = min(item["expires_after"] for item in action.approvals)
    return later.ask_until(action, now=dbtime.now(), seconds=waits)


def _allowance_gone(action: Action, active: releases.Active) -> Dropped | None:
    """What an allowance answered is asked after all where that holds no more. Locks the allowance."""
    why = forawhile.hindrance(action, active)
    if not why:
        return None
    verdict = json.dumps(unspared(action.verdict))
    return _drop(
        action, S.PENDING, f"the allowance for a while does not hold: {why}", allowance=None,
        verdict_json=verdict, deadline=_ask_until(action),
    )  # fmt: skip


def _held(action: Action, tool: ToolDef) -> Held | None:
    now = dbtime.now()
    if action.not_before is not None and action.not_before > now:
        return Held(f"not before {action.not_before.isoformat()}")
    try:
        limits.check_running(action.agent, tool=tool.name)
    except Refused as refused:
        return Held(refused.detail)
    if stopped := limits.mode_block(action.agent, tool):
        return Held(stopped)
    if action.fence and Grant.objects.alive().filter(action_id=action.pk).exists():
        return Held("the privilege of its last start has not ended yet")
    return None if _votes_covered(action) else Held("its votes wait for a signed checkpoint", soon=True)


def _votes_covered(action: Action) -> bool:
    """A vote starts nothing before it stands under a checkpoint that others can hold agentsec to."""
    if not action.approvals:
        return True
    if action.allowance is not None:
        votes = [action.allowance.entry]
    else:
        votes = [vote.entry for vote in voting.tally(action).given]
    entries = Entry.objects.filter(uuid__in=votes).values_list("pk", flat=True)
    return len(entries) == len(votes) > 0 and proofs.is_covered(entries)
