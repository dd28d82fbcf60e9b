"""The reviewer's calls, with a personal token: the inbox, a decision, the evidence of an action."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.utils.dateparse import parse_datetime
from ninja import Query, Router

from agentsec_site.gateway import allowances, auth
from agentsec_site.gateway.replies import download, reply
from agentsec_site.gateway.schemas import (
    ERRORS,
    NOTHING,
    DecisionIn,
    DecisionOut,
    InboxOut,
    Nothing,
    PageCursor,
    PageSize,
    Zip,
)
from agentsec_site.gateway.waiting import Seen
from approvals import (
    answers,
    claims,
    decisions,
    evidence,
    holding,
    queries,
    questions,
    rejecting,
    whoelse,
    withdrawing,
    word,
)
from approvals.holding import Holds
from approvals.models import Action
from approvals.sql import planning
from policies.access import Verb, may, require
from policies.models import User
from traces.problems import Invalid

router = Router(tags=["reviewers"])


@router.get("/inbox", auth=auth.people, response={200: InboxOut, **ERRORS}, url_name="inbox")
def inbox(request: HttpRequest, limit: PageSize = Query(50), after: PageCursor = Query("")) -> HttpResponse:
    """What waits and this person may see, the most urgent first. `next` is the `after` of the next page."""
    user = require(auth.person(request), Verb.INBOX_SEE)
    rows = queries.inbox(user).prefetch_related("votes__user", "questions__user", "words")
    if after:
        deadline, key = _opened(after)
        rows = rows.filter(Q(deadline__gt=deadline) | Q(deadline=deadline, id__gt=key))
    found = list(rows[: limit + 1])
    page, more, holds = found[:limit], found[limit:], holding.holds()
    return reply(
        {
            "actions": [describe(item, user, holds) for item in page],
            "next": _cursor(page[-1]) if more else None,
        }
    )


@router.post("/actions/{uuid:action_id}/decision", auth=auth.people, response={200: DecisionOut, **ERRORS})
def decide(request: HttpRequest, action_id: UUID, body: DecisionIn) -> HttpResponse:
    """Vote on exactly what `digest` names. With `args`, edit to these arguments and approve them."""
    user = auth.person(request)
    claim = claims.others(queries.get_visible(user, action_id), user)
    decision = _decided(user, action_id, body)
    action = answers.answer(decision.action)
    told = {"effect": decision.effect, "message": decision.message, "action": action}
    if decision.allowance is not None:
        told["allowance"] = allowances.describe(decision.allowance, True)
    if claim is not None:
        told["claim"] = claim.to_json()
    return reply(told)


@router.delete("/actions/{uuid:action_id}/decision", auth=auth.people, response={200: DecisionOut, **ERRORS})
def withdraw(request: HttpRequest, action_id: UUID, body: Nothing = NOTHING) -> HttpResponse:
    """Take your own approval back while the action waits for others; once it is decided, 409."""
    user = auth.person(request)
    action = queries.get_visible(user, action_id)
    decision = withdrawing.withdraw(action_id=action.pk, user=user)
    told = {"effect": decision.effect, "message": decision.message}
    return reply(told | {"action": answers.answer(decision.action)})


@router.get("/actions/{uuid:action_id}/evidence", auth=auth.people, response={200: Zip, **ERRORS})
def export(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """The action and its session as a bundle that verifies offline; the export is itself an entry."""
    user = auth.person(request)
    action = queries.get_visible(user, action_id)
    content = evidence.export(action=action, user=user)
    return download(content, name=f"evidence-{action.pk}.zip", media_type="application/zip")


def look(action_id: UUID, user: User) -> Seen:
    """What a person sees of an action; 202 while it is open."""
    action = queries.get_visible(user, action_id)
    status = 202 if action.is_open else 200
    told = describe(action, user) | {"who_else": whoelse.of(action, user).to_json()}
    told |= {"plan": planning.told(action)}
    return Seen(status, told, mark=questions.counted(action))


def describe(action: Action, user: User, holds: Holds | None = None) -> dict[str, Any]:
    """The action as its agent gets it, and what a reviewer needs besides."""
    access = may(user, Verb.ACTION_DECIDE, team=action.team, groups=action.groups)
    claim = claims.of(action)
    return {
        **answers.answer(action, holds=holds),
        "tool": action.tool,
        "runs": action.runs,
        "effect": action.effect,
        "target": action.target,
        "summary": action.summary,
        "agent": action.agent.name,
        "team": action.team,
        "session": str(action.session_id),
        "session_labels": list(action.session.labels),
        "reason": action.reason,
        "asked": action.approvals,
        "votes": [_vote(vote) for vote in action.votes.all() if not vote.void],
        "word": word.describe(action),
        "origins": action.origins,
        "findings": action.findings,
        "decided_by": action.decided_by,
        "claim": claim and claim.to_json(),
        "may_decide": {"allowed": access.allowed, "why": access.why},
    }


def _vote(vote: Any) -> dict[str, Any]:
    return {
        "user": vote.user.username,
        "group": vote.group,
        "verdict": vote.verdict,
        "comment": vote.comment,
        "revision": vote.revision,
        "at": vote.at.isoformat(),
    }


def _decided(user: User, action_id: UUID, body: DecisionIn) -> decisions.Decision:
    common: dict[str, Any] = {
        "action_id": action_id,
        "user": user,
        "digest": body.digest,
        "comment": body.comment,
        "channel": "rest",
    }
    if body.verdict == "reject":
        return decisions.reject(**common, advice=rejecting.advice(body.advice))
    if body.args is not None:
        return decisions.edit(**common, args=body.args, confirm=body.confirm)
    return decisions.approve(**common, confirm=body.confirm, for_minutes=body.for_minutes or 0)


def _cursor(action: Action) -> str:
    place = json.dumps([action.deadline.isoformat(), str(action.pk)])
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _opened(cursor: str) -> tuple[datetime, UUID]:
    """The place that `_cursor` named; raises Invalid for anything else."""
    try:
        deadline, key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        at, action = parse_datetime(deadline), UUID(key)
    except (ValueError, TypeError, AttributeError, binascii.Error, RecursionError):
        raise Invalid("`after` is not what an earlier page gave as `next`.") from None
    if at is None or at.tzinfo is None:
        raise Invalid("`after` is not what an earlier page gave as `next`.")
    try:
        # Not every offset that Python reads is one that PostgreSQL takes.
        return at.astimezone(UTC), action
    except OverflowError:
        raise Invalid("`after` is not what an earlier page gave as `next`.") from None
