"""The one way in: propose() screens a call, traces its arguments, judges it, and writes each step down.

limits → schema → firewall → provenance → policy, in one transaction with the log. Nothing here starts
anything; what is allowed or approved is started by `execution` or `handout`, which check again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any
from uuid import UUID, uuid4

from django.db import transaction

from approvals import (
    duties,
    escalation,
    files,
    forawhile,
    jobs,
    judging,
    later,
    leaks,
    notify,
    repeating,
    states,
    sworn,
    widening,
)
from approvals.judging import Judged
from approvals.models import Action, ActionQuerySet, Revision
from policies import arguments, budgets, labels, limit_hits, limits, reach, releases, sessions
from policies.firewall import known
from policies.limit_models import Limit
from policies.models import Agent, AgentKey
from policies.tooling import ToolDef
from policies.trail import note_proposed
from traces import dbtime, record
from traces.models import Session
from traces.problems import Refused

TOOL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:/+-]{0,99}")


@dataclass(frozen=True)
class Call:
    """What the agent wants, as the door read it."""

    agent: Agent
    session: Session
    tool: str
    args: Mapping[str, Any]
    reason: str
    tool_call_id: str
    idempotency_key: str
    not_before: datetime | None
    door: str


def propose(
    *,
    agent: Agent,
    key: AgentKey,
    session_id: UUID | str,
    tool: str,
    args: Mapping[str, Any],
    reason: str = "",
    tool_call_id: str = "",
    not_before: datetime | None = None,
    idempotency_key: str = "",
    door: str = "rest",
) -> Action:
    """Judge one call and store it as an action in state blocked, pending or ready.

    Locks the agent's row (so that limits hold under concurrency),
    then its session's. Appends `action.proposed`,
    `action.judged` and `action.<state>`. An equal call under the same idempotency key or tool call id gives
    the
    action that is already there. Raises Refused: not_found (session), forbidden (paused), limit, invalid
    (arguments), conflict (the key was used for another call).
    """
    session = sessions.get_session(agent, session_id)
    for given, what in (
        (tool, "the tool's name"),
        (tool_call_id, "tool_call_id"),
        (idempotency_key, "the key"),
    ):
        leaks.refuse(given, what=what)
    told = leaks.masked(reason)
    call = Call(agent, session, tool, args, told, tool_call_id, idempotency_key, not_before, door)
    _refuse_times(call)
    try:
        with transaction.atomic(), known.holding(known.current()):
            return _admitted(call)
    except Refused as refused:
        _note_refusal(call, refused)
        raise


def _admitted(call: Call) -> Action:
    agent = (
        Agent.objects.select_for_update(no_key=True, of=("self",))
        .select_related("team")
        .get(pk=call.agent.pk)
    )
    mine = Action.objects.select_related("session", "agent").filter(agent=call.agent)
    known = repeating.known(
        mine, session=call.session, tool=call.tool, args=call.args, tool_call_id=call.tool_call_id,
        idempotency_key=call.idempotency_key,
    )  # fmt: skip
    if known is not None:
        return known
    active = releases.current()
    tool = active.tool(call.tool)
    leak = leaks.taken_out(checked(tool, call.args))
    args = leak.args
    digest = arguments.call_digest(agent=agent.name, tool=tool.name, manifest=tool.manifest, args=args)
    known = _seen_elsewhere(mine, call, digest)
    if known is not None:
        return known
    now = dbtime.now()
    waiting = Action.objects.filter(agent=agent, state=Action.State.PENDING).count()
    usage = limits.admit(agent, now=now, pending=waiting, tool=tool.name)
    counted = budgets.admit(agent=agent, tool=tool.name, args=args, now=now, waiting=_waiting)
    files.refuse_unknown(agent=agent, args=args)
    limits.admit_text(agent, octets=len(arguments.canonical(args)))
    labels.catch_up(agent=agent, session=call.session)
    judged = judging.judge(
        agent=agent, session=call.session, tool=tool, args=args, usage=usage, now=now, active=active,
        leaked=leak.findings,
    )  # fmt: skip
    judged = forawhile.spare(judged, session=call.session, agent=agent, args=args, now=now, active=active,
                             not_before=call.not_before)  # fmt: skip
    action = _store(call, agent, args, judged, digest, now)
    budgets.keep(counted, action_id=action.pk)
    if action.state == Action.State.BLOCKED:
        budgets.give_back(action_id=action.pk)
    return action


def _waiting(limit: Limit) -> int:
    """How many actions under a shared limit wait for people; asked with the limit locked."""
    named = {"agent__name": limit.agent, "agent__team__name": limit.group}
    pending = Action.objects.pending().filter(**{field: name for field, name in named.items() if name})
    tools = pending.values_list("tool", flat=True)
    return sum(fnmatchcase(tool, limit.tool) for tool in tools) if limit.tool else tools.count()


def checked(tool: ToolDef, args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments in canonical values, as the tool's schema allows them. Raises Refused("invalid").

    So it does for the name of an undeclared tool that could be taken for another's when it is read.
    """
    if not TOOL_NAME.fullmatch(tool.name):
        raise Refused("invalid", "a tool's name holds ASCII letters, digits and . _ @ : / + - only")
    try:
        arguments.files_in(args)
        return arguments.check(args, tool.parameters) if tool.declared else arguments.normalise(dict(args))
    except arguments.ArgumentsRefused as error:
        raise Refused("invalid", f"{tool.name}: {error.detail}", path=error.path, why=error.why) from None


def _seen_elsewhere(mine: ActionQuerySet, call: Call, digest: str) -> Action | None:
    """Another door may have shown us this call a moment ago; through one door, equal calls are two calls."""
    unconsumed = mine.filter(session=call.session, call_digest=digest, state__in=["pending", "ready"])
    return unconsumed.exclude(door=call.door).order_by("created_at").first()


def _store(
    call: Call, agent: Agent, args: dict[str, Any], judged: Judged, call_digest: str, now: datetime
) -> Action:
    action = Action(
        id=uuid4(), session=call.session, agent=agent, team=call.session.team, tool=judged.tool.name,
        runs=judged.tool.runs, effect=judged.tool.effect, manifest=judged.tool.manifest,
        call_digest=call_digest,
        idempotent=judged.tool.idempotent, reason=call.reason, tool_call_id=call.tool_call_id,
        idempotency_key=call.idempotency_key,
        not_before=call.not_before, created_at=now, changed_at=now, door=call.door,
    )  # fmt: skip
    take_on(action, args=args, judged=judged)
    if judged.allowance is not None:
        action.allowance = judged.allowance
        action.not_before = forawhile.earliest(judged.allowance, call.not_before)
    action.state = _first_state(judged)
    action.deadline = deadline(action, judged, now)
    action.save(force_insert=True)
    Revision.objects.create(
        action=action,
        number=1,
        args_json=action.args_json,
        digest=action.digest,
        by=agent.name,
        why=call.reason,
    )
    _log(call, action, judged)
    note_proposed(session=call.session)
    if action.state == Action.State.PENDING:
        notify.about(action, kind=notify.NoticeKind.ASKED, groups=action.groups)
    jobs.enqueue(action)
    return action


def take_on(action: Action, *, args: Mapping[str, Any], judged: Judged) -> None:
    """Set everything on the action that follows from its arguments and their judgement, digest included."""
    tool = reach.confined(judged.tool, judged.verdict.egress)
    action.args_json = arguments.canonical(args).decode()
    action.target = judging.target(tool, args)
    action.summary = judging.summary(tool, args)
    action.release = judged.verdict.release
    action.verdict_json = json.dumps(judged.verdict.to_json())
    action.facts_json = json.dumps(judged.facts.to_json())
    action.origins_json = json.dumps(judged.origins)
    action.findings_json = json.dumps(judged.findings)
    set_approvals(action, judged.approvals)
    action.digest = arguments.action_digest(
        action=str(action.pk), revision=action.revision, session=str(action.session_id),
        call=action.call_digest,
        target=action.target, egress=list(tool.config.get("egress", [])),
        secrets=list(tool.config.get("secrets", [])), files=arguments.files_in(args), release=action.release,
    )  # fmt: skip


def set_approvals(action: Action, approvals: list[dict[str, Any]]) -> None:
    """Set on the action whom it asks, with who has a stake in it, and when others are asked too."""
    asked_for = duties.sealed(approvals, agent=action.agent, session=action.session)
    action.approvals_json = json.dumps(asked_for)
    action.groups = widening.groups_of(action)
    escalation.set_due(action)


def _first_state(judged: Judged) -> str:
    by_effect = {"block": Action.State.BLOCKED, "ask": Action.State.PENDING, "allow": Action.State.READY}
    return by_effect[judged.verdict.effect]


def deadline(action: Action, judged: Judged, now: datetime) -> datetime:
    """Until when votes are waited for, or until when a ready action must have started."""
    if judged.approvals and judged.allowance is None:
        return now + timedelta(seconds=min(item["expires_after"] for item in judged.approvals))
    return max(now, action.not_before or now) + later.window(judged.tool.config)


def _log(call: Call, action: Action, judged: Judged) -> None:
    states.announce(action)
    about: dict[str, Any] = {"session": action.session, "action": str(action.pk)}
    proposed = {
        "tool": action.tool, "args": action.args, "reason": action.reason, "manifest": action.manifest,
        "call_digest": action.call_digest, "digest": action.digest, "target": action.target,
        "door": call.door,
        "summary": action.summary, "tool_call_id": action.tool_call_id,
        "not_before": call.not_before.isoformat() if call.not_before else None,
    }  # fmt: skip
    record.append(
        kind="action.proposed", actor=f"agent:{call.agent.pk}", body=proposed, title=action.summary,
        text=f"{action.tool} {action.args_json} {action.reason}", attributes={"tool": action.tool}, **about,
    )  # fmt: skip
    body = {
        "verdict": judged.verdict.to_json(), "rules": judged.rule_texts, "facts": judged.facts.to_json(),
        "origins": judged.origins, "findings": judged.findings, "release": action.release,
        "digest": action.digest,
    }  # fmt: skip
    record.append(
        kind="action.judged", actor="agentsec", body=body, title=judged.sentence,
        text=" ".join(match["why"] for match in judged.findings), **about,
    )  # fmt: skip
    record.append(
        kind=f"action.{action.state}", actor="agentsec",
        body={"from": None, "to": action.state, "approvals": action.approvals, "digest": action.digest,
              "deadline": action.deadline.isoformat(), **sworn.let_through(action)},
        title=f"{action.tool}: {Action.State(action.state).label.lower()}",
        attributes={"state": action.state, "tool": action.tool}, **about,
    )  # fmt: skip


def _refuse_times(call: Call) -> None:
    later.refuse(call.not_before, now=dbtime.now())


def _note_refusal(call: Call, refused: Refused) -> None:
    """A refused call leaves a trace too; a flood of refusals leaves one at each power of two."""
    limit_hits.note(agent=call.agent, tool=call.tool, refused=refused)
    times = limits.count_refusal(call.agent)
    if times & (times - 1):
        return
    body = {"tool": call.tool, "code": refused.code, "why": refused.detail, "times_today": times}
    with transaction.atomic():
        record.append(
            kind="action.refused", actor=f"agent:{call.agent.pk}", session=call.session, body=body,
            title=f"{call.tool}: {refused.detail}", attributes={"tool": call.tool, "code": refused.code},
        )  # fmt: skip
