"""The kill switch, with a personal token: throw it, lift it, see what is stopped."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse
from ninja import Router
from pydantic import BaseModel, Field

from agentsec_site.gateway import auth
from agentsec_site.gateway.replies import reply
from agentsec_site.gateway.schemas import ERRORS, NO_CONTROL, NO_NUL, NOTHING, Nothing, Strict
from approvals import killswitch
from policies import changes, limits
from policies.access import Verb, actor, require
from policies.foureyes import NeedsSecond
from policies.models import Switch, User
from traces.problems import Refused

router = Router(tags=["kill switch"])


class SwitchIn(Strict):
    scope: Annotated[str, Field(max_length=limits.MAX_SCOPE, pattern=NO_CONTROL)] = Field(
        description="`all`, `agent:NAME`, `group:NAME` or `tool:NAME`."
    )
    reason: Annotated[str, Field(min_length=1, max_length=500, pattern=NO_NUL)]


class SwitchOut(BaseModel):
    scope: str
    reason: str
    by: str
    at: datetime


class SwitchesOut(BaseModel):
    thrown: list[SwitchOut]


@router.get("/switch", auth=auth.people, response={200: SwitchesOut, **ERRORS})
def list_switches(request: HttpRequest) -> HttpResponse:
    """What is stopped now."""
    _caller(request)
    return reply({"thrown": [_told(switch) for switch in Switch.objects.order_by("at")]})


@router.post("/switch", auth=auth.people, response={200: SwitchOut, **ERRORS})
def throw_switch(request: HttpRequest, body: SwitchIn) -> HttpResponse:
    """Stop everything that the scope names, now. Running jobs are stopped and grants taken back."""
    user = _caller(request)
    return reply(_told(killswitch.throw(scope=body.scope, reason=body.reason, by=actor(user))))


@router.delete("/switch/{path:scope}", auth=auth.people, response={204: None, **ERRORS})
def lift_switch(request: HttpRequest, scope: str, body: Nothing = NOTHING) -> HttpResponse:
    """Let it run again. 404 where the switch was not thrown for exactly this scope.

    With four-eyes on it is proposed instead, as the `change` of the 403.
    """
    by = actor(_caller(request))
    try:
        limits.lift(scope=scope, by=by)
    except NeedsSecond as needed:
        row = changes.keep(needed, by=by)
        raise Refused("forbidden", needed.detail, change=row.pk) from None
    return HttpResponse(status=204)


def _caller(request: HttpRequest) -> User:
    return require(auth.person(request), Verb.KILL)


def _told(switch: Switch) -> dict[str, Any]:
    return {"scope": switch.scope, "reason": switch.reason, "by": switch.by, "at": switch.at}
