"""The pages on which many are decided at once: the list to confirm, what came of it, and taking it back."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from approvals import bulk, queries, vigilance
from approvals.heap import heap
from approvals.views import page_of, person
from policies.access import Verb
from policies.models import User
from traces.problems import Refused


@require_safe
@page_of(Verb.INBOX_SEE)
def confirm(request: HttpRequest) -> HttpResponse:
    """Each of the chosen actions, to be read before all of them are decided; decides nothing."""
    try:
        listed = heap(person(request), request.GET.get("verdict", ""), request.GET.getlist("id"))
    except Refused as refused:
        return _refused(request, refused)
    return _render(request, "_bulk_confirm", {"heap": listed})


@require_POST
@page_of(Verb.INBOX_SEE)
def decide(request: HttpRequest) -> HttpResponse:
    """The same vote on each of the actions that were listed, for exactly what was seen of it."""
    user, comment, began = person(request), request.POST.get("comment", ""), timezone.now()
    verdict = request.POST.get("verdict", "")
    try:
        items = [_item(text) for text in request.POST.getlist("item")]
        look = vigilance.shared(user, uuid4(), [item.digest for item in items], request.POST.dict())
        done = bulk.decide_many(user=user, verdict=verdict, items=items, comment=comment, attention=look)
    except Refused as refused:
        return _refused(request, refused)
    message = f"{done.sentence} {vigilance.gently_all(done.bulk)}".strip()
    return _told(request, done, message, until=began + timedelta(seconds=settings.AGENTSEC_UNDO_SECONDS))


@require_POST
@page_of(Verb.INBOX_SEE)
def undo(request: HttpRequest) -> HttpResponse:
    """Take one's approvals of one heap back."""
    try:
        done = bulk.undo_many(bulk=_uuid(request.POST.get("bulk", "")), user=person(request))
    except Refused as refused:
        return _refused(request, refused)
    return _told(request, done, done.sentence)


def _item(text: str) -> bulk.Item:
    key, _, digest = text.partition(":")
    return bulk.Item(_uuid(key), digest)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Refused("invalid", "that is none of the listed actions") from None


def _told(
    request: HttpRequest, done: bulk.Done, message: str, *, until: datetime | None = None
) -> HttpResponse:
    """What came of each: the list for htmx, else the inbox with a message. `until` when all can be undone."""
    if not request.headers.get("HX-Request"):
        (messages.warning if done.refused else messages.success)(request, _plain(done, message))
        return redirect("/")
    shown = {"done": done, "message": message, "refused": _named(person(request), done)}
    response = render(request, "approvals/_bulk_done.html", shown)
    ended = [str(each.action) for each in done.outcomes if each.effect in ("approved", "rejected")]
    told = {
        "bulk": str(done.bulk), "message": message, "refused": len(done.refused), "undoable": done.undoable,
        "done": ended, "until": until.isoformat() if until else None,
    }  # fmt: skip
    response.headers["HX-Trigger-After-Settle"] = json.dumps({"agentsec:bulk": told})
    return response


def _plain(done: bulk.Done, message: str) -> str:
    reasons = dict.fromkeys(outcome.message for outcome in done.refused)
    return f"{message} {'; '.join(reasons)}".strip()


def _named(user: User, done: bulk.Done) -> list[tuple[str, bulk.Outcome]]:
    """Each that was refused with its sentence, for those this person may see."""
    keys = [outcome.action for outcome in done.refused]
    names = dict(queries.visible(user).filter(pk__in=keys).values_list("pk", "summary"))
    return [(names.get(outcome.action, "an action"), outcome) for outcome in done.refused]


def _refused(request: HttpRequest, refused: Refused) -> HttpResponse:
    """Nothing was decided, and why."""
    status = 409 if refused.code == "conflict" else 422
    return _render(request, "_bulk_refused", {"why": refused.detail}, status=status)


def _render(request: HttpRequest, part: str, shown: dict[str, Any], *, status: int = 200) -> HttpResponse:
    if request.headers.get("HX-Request"):
        return render(request, f"approvals/{part}.html", shown, status=status)
    return render(request, "approvals/bulk.html", {**shown, "part": f"approvals/{part}.html"}, status=status)
