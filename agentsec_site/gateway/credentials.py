"""Credentials, with a personal token: what there is, an end to one, a new key or value beside the old one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeVar

from django.http import HttpRequest, HttpResponse
from ninja import Router
from pydantic import BaseModel, Field

from agentsec_site.gateway import auth
from agentsec_site.gateway.replies import reply
from agentsec_site.gateway.schemas import ERRORS, NO_NUL, NOTHING, Nothing, Strict
from approvals import credentials
from approvals.credentials import Credential
from policies import accounts, changes
from policies.access import Verb, actor, require
from policies.foureyes import NeedsSecond
from policies.models import User
from traces.problems import Refused

T = TypeVar("T")
router = Router(tags=["credentials"])
Minutes = Annotated[int, Field(ge=0, le=10_080)]
Days = Annotated[int, Field(ge=1, le=36_500)]


class CredentialOut(BaseModel):
    kind: str
    key: str
    name: str
    owner: str
    detail: str
    created_at: datetime | None
    last_used: datetime | None
    uses: int | None
    expires_at: datetime | None
    look: str = Field(description="`ok`, `wait` or `danger`; `why` says so in words.")
    why: str
    unused: bool
    may_remove: bool


class CredentialsOut(BaseModel):
    credentials: list[CredentialOut]


class RotateKeyIn(Strict):
    overlap_minutes: Minutes = Field(60, description="For how long the old key works on.")
    days: Days | None = Field(None, description="How long the new key works; without it, as the old one.")


class KeyOut(BaseModel):
    key: str


class RotateSecretIn(Strict):
    value: Annotated[str, Field(min_length=1, max_length=65_536, pattern=NO_NUL)]
    overlap_minutes: Minutes | None = Field(
        None,
        description="For how long the value before stays usable; without it, as the tools that name it say.",
    )
    days: Days | None = Field(
        None, description="After how many days it is to be replaced; without it, as before."
    )


@router.get("/credentials", auth=auth.people, response={200: CredentialsOut, **ERRORS})
def list_credentials(request: HttpRequest) -> HttpResponse:
    """Every key, secret and living grant, what needs attention first. Never a value."""
    user = require(auth.person(request), Verb.ACCOUNTS_READ)
    return reply({"credentials": [_told(item, user) for item in credentials.listed()]})


@router.delete("/credentials/{str:kind}/{str:key}", auth=auth.people, response={204: None, **ERRORS})
def remove_credential(request: HttpRequest, kind: str, key: str, body: Nothing = NOTHING) -> HttpResponse:
    """End a key, a token or a grant at once, or forget a secret."""
    user = auth.person(request)
    _with_second(user, lambda: credentials.remove(kind=kind, key=key, user=user))
    return HttpResponse(status=204)


@router.post("/credentials/key/{str:key}/rotate", auth=auth.people, response={200: KeyOut, **ERRORS})
def rotate_key(request: HttpRequest, key: str, body: RotateKeyIn) -> HttpResponse:
    """A new key beside an agent's old one; it stands in this answer and nowhere else."""
    user, overlap = auth.person(request), timedelta(minutes=body.overlap_minutes)
    told: dict[str, Any] = {"key": key, "user": user, "overlap": overlap, "expires_at": _ends(body.days)}
    return reply({"key": _with_second(user, lambda: credentials.rotate_key(**told))})


@router.post("/credentials/secret/{str:name}/rotate", auth=auth.people, response={204: None, **ERRORS})
def rotate_secret(request: HttpRequest, name: str, body: RotateSecretIn) -> HttpResponse:
    """A new value for a secret that is stored; nobody reads it back."""
    user, minutes = auth.person(request), body.overlap_minutes
    overlap = None if minutes is None else timedelta(minutes=minutes)
    told: dict[str, Any] = {"name": name, "value": body.value, "user": user, "overlap": overlap}
    ends = _ends(body.days)
    _with_second(user, lambda: credentials.rotate_secret(**told, expires_at=ends))
    return HttpResponse(status=204)


def _with_second(user: User, act: Callable[[], T]) -> T:
    """With four-eyes on it is proposed instead, as the `change` of the 403."""
    try:
        return act()
    except NeedsSecond as needed:
        row = changes.keep(needed, by=actor(user))
        raise Refused("forbidden", needed.detail, change=row.pk) from None


def _ends(days: int | None) -> datetime | None:
    return None if days is None else accounts.in_days(days)


def _told(item: Credential, user: User) -> dict[str, Any]:
    return {**item.__dict__, "may_remove": item.removable and credentials.may_remove(user, item.kind)}
