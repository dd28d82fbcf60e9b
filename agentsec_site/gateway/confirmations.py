"""The host application's calls for the user's own word: what waits for it, giving it, a link for the user.

All of them take a key with the scope `attest`: whoever holds it says what the user says.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router
from pydantic import Field

from agentsec_site.gateway import auth
from agentsec_site.gateway.replies import reply
from agentsec_site.gateway.schemas import (
    ERRORS,
    NO_CONTROL,
    NOTHING,
    DecisionOut,
    Digest,
    Nothing,
    Out,
    PageSize,
    Prose,
    Strict,
)
from approvals import answers, confirming, mine, wordlinks
from policies import sessions

UserName = Annotated[str, Field(min_length=1, max_length=150, pattern=NO_CONTROL)]

router = Router(tags=["confirmations"])


class ConfirmationIn(Strict):
    verdict: Literal["approve", "reject"]
    digest: Digest = Field(description="Of what the user saw; another is refused with 409.")
    user: UserName = Field(description="Who said it: exactly whom the session serves.")
    comment: Prose = Field(
        "", description="The user's own words; the agent is told them when it is rejected."
    )
    confirm: Prose = Field("", description="The target's name as the user typed it, where it is destructive.")


class LinkIn(Strict):
    minutes: Annotated[int, Field(ge=1, le=wordlinks.LONGEST_MINUTES)] = wordlinks.LINK_MINUTES


DEFAULT_LINK = LinkIn()


class ConfirmationsOut(Out):
    confirmations: list[dict[str, Any]]
    more: bool = Field(description="Whether more wait than were asked for.")


class LinkOut(Out):
    url: str = Field(description="For this user alone; it opens once.")
    expires_at: datetime


@router.get("/confirmations", auth=auth.agents, response={200: ConfirmationsOut, **ERRORS})
def list_confirmations(
    request: HttpRequest,
    session: UUID | None = None,
    user: Annotated[str, Field(max_length=150, pattern=NO_CONTROL)] = Query(""),
    limit: PageSize = Query(50),
) -> HttpResponse:
    """What waits for the word of this agent's users, the most urgent first, as the host shows it to them."""
    caller = auth.agent_caller(request, scope="attest")
    found = list(mine.of_agent(caller.agent, session=session, user=user)[: limit + 1])
    told = [mine.describe(action) for action in found[:limit]]
    return reply({"confirmations": told, "more": len(found) > limit})


@router.post(
    "/actions/{uuid:action_id}/confirmation", auth=auth.agents, response={200: DecisionOut, **ERRORS}
)
def confirm(request: HttpRequest, action_id: UUID, body: ConfirmationIn) -> HttpResponse:
    """The user's word on exactly what `digest` names, as the host application heard it."""
    caller = auth.agent_caller(request, scope="attest")
    speaker = confirming.of_host(key=caller.key, name=body.user)
    said: dict[str, Any] = {
        "action_id": action_id, "speaker": speaker, "digest": body.digest, "comment": body.comment,
    }  # fmt: skip
    if body.verdict == "reject":
        decision = confirming.reject(**said)
    else:
        decision = confirming.approve(**said, confirm=body.confirm)
    told = {"effect": decision.effect, "message": decision.message}
    return reply({**told, "action": answers.answer(decision.action)})


@router.post(
    "/sessions/{uuid:session_id}/confirmation-link", auth=auth.agents, response={200: LinkOut, **ERRORS}
)
def make_link(request: HttpRequest, session_id: UUID, body: LinkIn = DEFAULT_LINK) -> HttpResponse:
    """A link for whom the session serves, to see and answer what it asks of them without an account."""
    caller = auth.agent_caller(request, scope="attest")
    session = sessions.get_session(caller.agent, session_id)
    made = wordlinks.make(key=caller.key, session=session, minutes=body.minutes)
    return reply({"url": made.url, "expires_at": made.expires_at.isoformat()})


@router.delete(
    "/sessions/{uuid:session_id}/confirmation-link", auth=auth.agents, response={204: None, **ERRORS}
)
def revoke_links(request: HttpRequest, session_id: UUID, body: Nothing = NOTHING) -> HttpResponse:
    """End every link of the session at once. What was said through them and has not started is void."""
    caller = auth.agent_caller(request, scope="attest")
    wordlinks.revoke(key=caller.key, session=sessions.get_session(caller.agent, session_id))
    return HttpResponse(status=204)
