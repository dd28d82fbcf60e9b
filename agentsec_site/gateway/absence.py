"""One's own absence, with a personal token: say it, see it, end it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse
from ninja import Router
from pydantic import BaseModel, Field

from agentsec_site.gateway import auth
from agentsec_site.gateway.replies import reply
from agentsec_site.gateway.schemas import ERRORS, NO_CONTROL, NOTHING, Nothing, Strict, Time
from policies import absences, changes
from policies.absence_models import Absence
from policies.access import Verb, actor, require
from policies.foureyes import NeedsSecond
from policies.models import User
from traces.problems import Refused

router = Router(tags=["reviewers"])


class AbsenceIn(Strict):
    since: Time | None = Field(None, description="From when; from now on where it is absent.")
    until: Time
    stand_in: Annotated[str, Field(max_length=150, pattern=NO_CONTROL)] | None = Field(
        None, description="The username of an approver who may decide what this person could."
    )


class AbsenceOut(BaseModel):
    since: datetime
    until: datetime
    stand_in: str | None


class Standing(BaseModel):
    absence: AbsenceOut | None
    stands_in_for: list[str] = Field(description="Who is away now, and this person stands in for them.")


@router.get("/absence", auth=auth.people, response={200: Standing, **ERRORS})
def see_absence(request: HttpRequest) -> HttpResponse:
    """This person's absence, lasting or to come, and for whom they stand in."""
    user = _caller(request)
    others = {row.user.username for rows in user.covers.values() for row in rows}
    return reply({"absence": _told(absences.of(user)), "stands_in_for": sorted(others)})


@router.post("/absence", auth=auth.people, response={200: AbsenceOut, **ERRORS})
def say_absence(request: HttpRequest, body: AbsenceIn) -> HttpResponse:
    """Be away. With four-eyes 403 and the `change` that somebody else confirms, where one stands in."""
    user = _caller(request)
    try:
        row = absences.go_away(
            user=user, since=body.since, until=body.until, by=actor(user), stand_in=_named(body.stand_in)
        )
    except NeedsSecond as needed:
        change = changes.keep(needed, by=actor(user))
        raise Refused("forbidden", needed.detail, change=change.pk) from None
    return reply(_told(row))


@router.delete("/absence", auth=auth.people, response={204: None, **ERRORS})
def end_absence(request: HttpRequest, body: Nothing = NOTHING) -> HttpResponse:
    """Be back at once: nobody stands in any more."""
    user = _caller(request)
    if absences.come_back(user=user, by=actor(user)) is None:
        raise Refused("not_found", "There is no absence to end.")
    return HttpResponse(status=204)


def _caller(request: HttpRequest) -> User:
    return require(auth.person(request), Verb.INBOX_SEE)


def _named(name: str | None) -> User | None:
    if not name:
        return None
    user = User.objects.filter(username=name).first()
    if user is None:
        raise Refused("invalid", f"There is no person called {name}.", field="stand_in")
    return user


def _told(row: Absence | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {
        "since": row.since.isoformat(), "until": row.until.isoformat(),
        "stand_in": row.stand_in.username if row.stand_in else None,
    }  # fmt: skip
