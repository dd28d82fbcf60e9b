"""Allowances for a while, with a personal token: what stands, and an end to one."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from ninja import Router
from pydantic import BaseModel

from agentsec_site.gateway import auth
from agentsec_site.gateway.replies import reply
from agentsec_site.gateway.schemas import ERRORS, NOTHING, Nothing
from approvals import forawhile
from policies.access import Verb, require
from policies.models import Allowance

router = Router(tags=["reviewers"])


class AllowanceOut(BaseModel):
    id: UUID
    tool: str
    target: str
    same: list[str]
    agent: str
    session: UUID
    rules: list[str]
    by: str
    group: str
    action: UUID
    starts_at: datetime
    until: datetime
    uses: int
    may_revoke: bool


class AllowancesOut(BaseModel):
    allowances: list[AllowanceOut]


@router.get("/allowances", auth=auth.people, response={200: AllowancesOut, **ERRORS})
def list_allowances(request: HttpRequest) -> HttpResponse:
    """What is allowed for a while now, of the groups of this person; who reads policies sees all."""
    user = require(auth.person(request), Verb.INBOX_SEE)
    return reply({"allowances": [describe(item.row, item.may_end) for item in forawhile.standing(user)]})


@router.delete("/allowances/{uuid:allowance_id}", auth=auth.people, response={204: None, **ERRORS})
def revoke_allowance(request: HttpRequest, allowance_id: UUID, body: Nothing = NOTHING) -> HttpResponse:
    """End it at once: equal calls are asked about again. Ending what has ended is no error."""
    forawhile.revoke(allowance_id=allowance_id, user=auth.person(request))
    return HttpResponse(status=204)


def describe(row: Allowance, may_end: bool) -> dict[str, Any]:
    """An allowance as its reviewers see it."""
    return {
        "id": row.pk, "tool": row.tool, "target": row.target, "same": row.same, "agent": row.agent.name,
        "session": row.session_id, "rules": row.rules, "by": row.user.username, "group": row.group,
        "action": row.action_id, "starts_at": row.starts_at, "until": row.until, "uses": row.uses,
        "may_revoke": may_end,
    }  # fmt: skip
