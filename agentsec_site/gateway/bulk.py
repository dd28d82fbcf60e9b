"""Deciding many at once, with a personal token: the same vote on actions that are alike."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from ninja import Router
from pydantic import BaseModel, Field

from agentsec_site.gateway import auth
from agentsec_site.gateway.replies import reply
from agentsec_site.gateway.schemas import ERRORS, Digest, Id, Prose, Strict
from approvals import bulk

router = Router(tags=["reviewers"])


class SeenIn(Strict):
    action: Id
    digest: Digest = Field(description="What was seen of it and is voted on.")


class DecisionsIn(Strict):
    verdict: Literal["approve", "reject"]
    items: Annotated[list[SeenIn], Field(min_length=1, max_length=bulk.MOST)] = Field(
        description="Of one tool, asked about by the same rules; each once."
    )
    comment: Prose = Field("", description="With reject needed: it is what the agents are told.")


class DecidedOut(BaseModel):
    action: UUID
    effect: Literal["approved", "counted", "rejected", "refused"]
    message: str
    code: str | None = Field(None, description="Of a refusal: what it would be by itself.")


class DecisionsOut(BaseModel):
    bulk: UUID = Field(description="What the entries of these votes share in the log.")
    done: int
    refused: int
    results: list[DecidedOut]


@router.post("/decisions", auth=auth.people, response={200: DecisionsOut, **ERRORS})
def decide_many(request: HttpRequest, body: DecisionsIn) -> HttpResponse:
    """Vote alike on up to 50 actions. Each is decided by itself: one that is refused touches no other."""
    items = [bulk.Item(item.action, item.digest) for item in body.items]
    done = bulk.decide_many(
        user=auth.person(request), verdict=body.verdict, items=items, comment=body.comment, channel="rest"
    )
    results = [
        {"action": each.action, "effect": each.effect, "message": each.message, "code": each.code or None}
        for each in done.outcomes
    ]
    told = {"bulk": done.bulk, "done": done.count, "refused": len(done.refused), "results": results}
    return reply(told)
