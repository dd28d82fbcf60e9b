"""Growing trust: more or less room for an agent is proposed with its evidence, and decided by a person.

A new agent may only read. Nothing here changes a mode by itself, up or down; pausing stays a person's act.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from approvals import trust
from approvals.growth_models import Promotion
from approvals.trust import Evidence
from policies import agents
from policies.access import Verb, actor, require
from policies.models import Agent, User
from traces import record
from traces.problems import Refused

State = Promotion.State
M = Agent.Mode
# What is proposed from where; a paused agent is nobody's to move but a person's.
STEPS = {M.READ_ONLY: M.STANDARD, M.STANDARD: M.READ_ONLY}
WINDOW_DAYS = 30
MAX_REASON = 500


def find() -> list[Promotion]:
    """Bring the proposals up to date: new ones where the evidence holds, none where it no longer does.

    Appends `trust.proposed` for each new one. What a person declined is not proposed again for a while.
    """
    found = []
    for agent in Agent.objects.exclude(mode=M.PAUSED):
        proposal = _propose(agent)
        if proposal is not None:
            found.append(proposal)
    Promotion.objects.filter(state=State.OPEN, agent__mode=M.PAUSED).update(state=State.WITHDRAWN)
    return found


def standing(agent: Agent) -> Evidence:
    """What the agent has shown since its mode was last decided, at most the last WINDOW_DAYS."""
    return trust.evidence(agent, since=_since(agent))


def why(mode: str, shown: Evidence) -> str:
    """The clauses that speak for the next step from this mode; empty where none is to be proposed."""
    if mode == M.READ_ONLY:
        ready = not shown.lacks()
        return f"{shown.proposed} actions on {shown.days_active} days, none rejected" if ready else ""
    return "; ".join(shown.troubles()) if mode == M.STANDARD else ""


@transaction.atomic
def decide(*, promotion_id: int, user: User, accept: bool, reason: str = "") -> Promotion:
    """Accept a proposal, which sets the agent's mode, or decline it with a reason.

    Locks the agent, then the proposal, as who looks for proposals does. Appends `trust.accepted` or
    `trust.declined` with the evidence, and `agent.mode`. Raises Refused: forbidden (role; with four-eyes,
    the agent's own owner), not_found, conflict (decided before, or the mode is another by now), gone (the
    evidence no longer speaks for it), invalid (no reason); with four-eyes NeedsSecond, and it stays open.
    """
    require(user, Verb.TRUST_DECIDE)
    row = _locked(promotion_id)
    if row.state != State.OPEN:
        raise Refused("conflict", f"It is already {row.state}.")
    reason = reason.strip()[:MAX_REASON]
    if accept:
        _refuse_stale(row, user)
    elif not reason:
        raise Refused("invalid", "Say why not: whoever looks here next wants to know.")
    row.state = State.ACCEPTED if accept else State.DECLINED
    row.decided_by, row.decided_at, row.reason = user.username, timezone.now(), reason
    row.save()
    _log(row, row.state, by=actor(user))
    if accept:
        agents.set_mode(agent=row.agent, mode=row.after, by=actor(user))
    return row


@transaction.atomic
def settle(*, agent_name: str, user: User) -> None:
    """Close the proposal for an agent that has this mode by now, since it was confirmed as a change.

    Appends `trust.accepted` with the evidence where there was one.
    """
    agent = Agent.objects.select_for_update(no_key=True).filter(name=agent_name).first()
    row = Promotion.objects.select_for_update().filter(agent=agent, state=State.OPEN).first()
    if agent is not None and row is not None and row.after == agent.mode:
        row.state, row.decided_by, row.decided_at = State.ACCEPTED, user.username, timezone.now()
        row.save(update_fields=["state", "decided_by", "decided_at"])
        _log(row, row.state, by=actor(user))


def _locked(promotion_id: int) -> Promotion:
    agent = Agent.objects.filter(promotions=promotion_id).select_for_update(no_key=True, of=("self",))
    if agent.first() is None:
        raise Refused("not_found", "There is no such proposal.")
    rows = Promotion.objects.select_for_update(of=("self",)).select_related("agent")
    return rows.get(pk=promotion_id)


def _refuse_stale(row: Promotion, user: User) -> None:
    agent = row.agent
    if agent.mode != row.before:
        raise Refused("conflict", f"{agent.name} is {agent.get_mode_display().lower()} by now.")
    if row.up and settings.AGENTSEC_FOUR_EYES and agent.owner_id == user.pk:
        raise Refused("forbidden", f"You own {agent.name}: somebody else has to give it more room.")
    if row.up and not why(agent.mode, standing(agent)):
        raise Refused("gone", "The evidence does not speak for it any more; decline it, or wait.")


def _propose(agent: Agent) -> Promotion | None:
    """A new proposal for this agent; an open one is refreshed, or withdrawn where nothing speaks for it."""
    shown = standing(agent)
    spoken, after = why(agent.mode, shown), STEPS[M(agent.mode)]
    values = {"evidence_json": json.dumps(shown.to_json()), "why": spoken[:500]}
    with transaction.atomic():
        if Agent.objects.select_for_update(no_key=True).get(pk=agent.pk).mode != agent.mode:
            return None
        row = Promotion.objects.select_for_update().filter(agent=agent, state=State.OPEN).first()
        if row is not None and (not spoken or row.before != agent.mode):
            Promotion.objects.filter(pk=row.pk).update(state=State.WITHDRAWN, decided_at=timezone.now())
            row = None
        elif row is not None:
            Promotion.objects.filter(pk=row.pk).update(**values)
            return None
        if not spoken or _declined_lately(agent, after):
            return None
        made = Promotion.objects.create(agent=agent, before=agent.mode, after=after, **values)
        _log(made, "proposed", by="agentsec")
    return made


def _declined_lately(agent: Agent, after: str) -> bool:
    since = timezone.now() - timedelta(days=settings.AGENTSEC_TRUST["pause_days"])
    rows = Promotion.objects.filter(agent=agent, after=after, state=State.DECLINED)
    return rows.filter(decided_at__gte=since).exists()


def _since(agent: Agent) -> datetime:
    """What it did under another mode says nothing of this one."""
    moved = Promotion.objects.filter(agent=agent, state=State.ACCEPTED).values_list("decided_at", flat=True)
    decided = max((at for at in moved if at is not None), default=agent.created_at)
    return max(decided, agent.created_at, timezone.now() - timedelta(days=WINDOW_DAYS))


def _log(row: Promotion, what: str, *, by: str) -> None:
    body = {
        "agent": row.agent_id, "before": row.before, "after": row.after, "why": row.why,
        "evidence": row.evidence, "reason": row.reason,
    }  # fmt: skip
    title = f"{row.agent.name}: {row.before} to {row.after} {what}"
    record.append(kind=f"trust.{what}", actor=by, body=body, title=title, text=row.reason or row.why)
