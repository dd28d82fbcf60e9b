"""Releases, with a personal token: list them, see what one changes, go back to one."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router
from pydantic import BaseModel, Field

from agentsec_site.gateway import auth
from agentsec_site.gateway.replies import reply
from agentsec_site.gateway.schemas import ERRORS, NO_NUL, PageSize, Strict
from policies import history, restoring
from policies.access import Verb, actor, require
from policies.models import Release

router = Router(tags=["policies"])
BIGGEST = (1 << 63) - 1
Number = Annotated[int, Field(ge=1, le=BIGGEST)]
SideName = Annotated[str, Field(pattern=r"^([0-9]{1,18}|draft)$")]
_LEAN = Literal["looser", "either", "stricter", "same"]


class ReleaseOut(BaseModel):
    id: int
    digest: str
    published_at: datetime
    published_by: str
    note: str


class ReleasesOut(BaseModel):
    releases: list[ReleaseOut]
    next: int | None = Field(description="The `below` of the next page.")


class FieldOut(BaseModel):
    name: str
    before: str
    after: str
    lean: _LEAN


class ChangeOut(BaseModel):
    kind: Literal["rule", "tool", "group", "detector"]
    name: str
    what: Literal["added", "removed", "changed"]
    lean: _LEAN = Field(description="`stricter` and `same` are promises: no call passes more easily.")
    why: str
    before: str
    after: str
    fields: list[FieldOut]


class DifferenceOut(BaseModel):
    before: str
    after: str
    lean: _LEAN
    changes: list[ChangeOut]


class RollbackIn(Strict):
    note: Annotated[str, Field(max_length=500, pattern=NO_NUL)] = ""
    deciding: Annotated[str, Field(max_length=64, pattern=r"^[0-9a-f]*$")] = Field(
        "", description="Digest of the release that decides as you know it; another one is 409."
    )
    despite: Annotated[
        list[Annotated[str, Field(max_length=200, pattern=NO_NUL)]], Field(max_length=1000)
    ] = Field(default=[], description="Names of cases that fail by it and that you put up with; logged.")


class RollbackOut(BaseModel):
    release: ReleaseOut | None = Field(
        description="Null where four-eyes leaves a draft: somebody else repeats."
    )
    changed: list[str]
    message: str


@router.get("/policies/releases", auth=auth.people, response={200: ReleasesOut, **ERRORS})
def list_releases(
    request: HttpRequest, limit: PageSize = Query(50), below: Number = Query(BIGGEST)
) -> HttpResponse:
    """Releases, the newest first: that one decides."""
    _caller(request, Verb.POLICY_READ)
    found = list(Release.objects.filter(pk__lt=below).order_by("-id").defer("content")[: limit + 1])
    page = found[:limit]
    return reply({"releases": [_told(row) for row in page], "next": page[-1].pk if found[limit:] else None})


@router.get(
    "/policies/releases/{before}/to/{after}", auth=auth.people, response={200: DifferenceOut, **ERRORS}
)
def compare_releases(request: HttpRequest, before: SideName, after: SideName) -> HttpResponse:
    """What changes from one release to another, rule by rule; `draft` is what is not published yet."""
    _caller(request, Verb.POLICY_READ)
    one, other, diff = history.between(before, after)
    return reply({"before": one.name, "after": other.name, **diff.to_json()})


@router.post(
    "/policies/releases/{release_id}/rollback", auth=auth.people, response={200: RollbackOut, **ERRORS}
)
def roll_back_release(request: HttpRequest, release_id: Number, body: RollbackIn) -> HttpResponse:
    """Make this release the draft and publish it again, as a new release."""
    by = actor(_caller(request, Verb.POLICY_EDIT))
    done = restoring.roll_back(
        release_id=release_id, by=by, note=body.note, deciding=body.deciding, despite=body.despite
    )
    told = _told(done.release) if done.release else None
    said = done.why or f"Release {release_id} decides again."
    return reply({"release": told, "changed": list(done.changed), "message": said})


def _caller(request: HttpRequest, verb: Verb) -> Any:
    return require(auth.person(request), verb)


def _told(release: Release) -> dict[str, Any]:
    names = ("digest", "published_at", "published_by", "note")
    return {"id": release.pk, **{name: getattr(release, name) for name in names}}
