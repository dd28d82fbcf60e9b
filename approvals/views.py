"""The pages of the inbox and of one action. A view parses, calls one verb, renders."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any, cast
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import DataError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import content_disposition_header
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from approvals import (
    claims,
    decisions,
    drafts,
    explain,
    files,
    forawhile,
    listing,
    panels,
    presenters,
    queries,
    rejecting,
    reviewing,
    signing,
    vigilance,
)
from approvals.attention import Attention
from approvals.decisions import Decision
from approvals.journey import journey
from approvals.models import Action
from policies.access import Verb, may
from policies.models import User
from traces.problems import Refused

View = Callable[..., HttpResponse]


def page_of(verb: Verb) -> Callable[[View], View]:
    """For people who are signed in and may use `verb`; an action that is not theirs to see is a 404."""

    def decorate(view: View) -> View:
        @never_cache
        @login_required
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            access = may(request.user, verb)
            if not access.allowed:
                return render(request, "site/refused.html", {"why": access.why}, status=403)
            try:
                return view(request, *args, **kwargs)
            except Refused as refused:
                if refused.code != "not_found":
                    raise
                raise Http404(refused.detail) from None

        return guarded

    return decorate


def person(request: HttpRequest) -> User:
    return cast(User, request.user)


@require_safe
@page_of(Verb.INBOX_SEE)
def inbox(request: HttpRequest) -> HttpResponse:
    """The list, and beside it the card of the action that the address names in `open`."""
    user = person(request)
    shown: dict[str, Any] = {"listing": listing.page(user, listing.Wish.read(request.GET))}
    if request.headers.get("HX-Request"):
        return render(request, "approvals/_rows.html", shown)
    shown |= {"allowed": forawhile.standing(user), "address": reverse("allowances")}
    if wanted := request.GET.get("open", ""):
        shown["card"] = _card(user, queries.get_visible(user, wanted))
    return render(request, "approvals/inbox.html", shown)


@require_safe
@page_of(Verb.INBOX_SEE)
def card(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """One action to decide on."""
    user = person(request)
    return render(
        request, "approvals/_card.html", {"card": _card(user, queries.get_visible(user, action_id))}
    )


@require_safe
@page_of(Verb.INBOX_SEE)
def panel(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Votes and buttons alone; without the buttons where the card shows other arguments."""
    return panels.answer(request, queries.get_visible(person(request), action_id))


@require_POST
@page_of(Verb.INBOX_SEE)
def decide(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Approve, reject, or edit and approve, for exactly the digest that was shown."""
    user = person(request)
    action = queries.get_visible(user, action_id)
    attention = vigilance.of_card(user, action, request.POST.dict())
    try:
        decision = _decided(request, action, attention)
    except Refused as refused:
        return _not_decided(request, action, refused)
    return _answer(
        request, vigilance.gently(decision, attention), whole=request.POST.get("verdict") == "edit"
    )


@require_POST
@page_of(Verb.INBOX_SEE)
def sign(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """What the person's passkey has to sign for the approval that the form would send; it decides nothing."""
    user, post = person(request), request.POST
    action = queries.get_visible(user, action_id)
    try:
        args = drafts.read(action, post.dict()) if post.get("verdict") == "edit" else None
        wish = signing.request(
            action_id=action.pk, user=user, digest=post.get("digest", ""), comment=_comment(post), args=args
        )
    except Refused as refused:
        return JsonResponse({"why": refused.detail}, status=409 if refused.code == "conflict" else 422)
    return JsonResponse(wish)


@require_POST
@page_of(Verb.INBOX_SEE)
def undo(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Take one's approval back."""
    return _changed(request, action_id, decisions.undo)


@require_POST
@page_of(Verb.INBOX_SEE)
def again(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Put an interrupted action before people again."""
    return _changed(request, action_id, decisions.run_again)


@require_safe
@page_of(Verb.INBOX_SEE)
def page(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """The whole way of one action."""
    user = person(request)
    action = queries.get_visible(user, action_id)
    return render(request, "approvals/action.html", {"card": _card(user, action), **_way(user, action)})


@require_safe
@page_of(Verb.INBOX_SEE)
def why(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Every rule that was considered for the action, what came of it, and the facts it saw."""
    action = queries.get_visible(person(request), action_id)
    shown = {"action": action, "explained": explain.of_action(action)}
    return render(request, "approvals/why.html", shown)


@require_safe
@page_of(Verb.INBOX_SEE)
def progress(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """The way and the output so far, for a page that follows along."""
    user = person(request)
    return render(request, "approvals/_progress.html", _way(user, queries.get_visible(user, action_id)))


@require_safe
@page_of(Verb.INBOX_SEE)
def artifact(request: HttpRequest, action_id: UUID, name: str) -> HttpResponse:
    """A file that the action left, only ever as a download: nobody knows what is in it."""
    action = queries.get_visible(person(request), action_id)
    content = bytes(files.artifact(action_id=action.pk, name=name).blob.content)
    response = HttpResponse(content, content_type="application/octet-stream")
    response.headers["Content-Disposition"] = content_disposition_header(True, name) or "attachment"
    return response


def _changed(request: HttpRequest, action_id: UUID, verb: Callable[..., Decision]) -> HttpResponse:
    """What came of a verb that takes nothing but the action and its person."""
    action = queries.get_visible(person(request), action_id)
    try:
        decision = verb(action_id=action.pk, user=person(request))
    except Refused as refused:
        return _not_decided(request, action, refused)
    return _answer(request, decision)


def _decided(request: HttpRequest, action: Action, attention: Attention) -> Decision:
    post, user = request.POST, person(request)
    said: dict[str, Any] = {
        "action_id": action.pk,
        "user": user,
        "digest": post.get("digest", ""),
        "comment": _comment(post),
        "attention": attention,
    }
    confirm, answer = post.get("confirm", ""), post.get("answer", "")
    claims.refuse(action, user=user, despite=post.get("despite_claim", ""))
    match post.get("verdict"):
        case "approve":
            return decisions.approve(**said, confirm=confirm, for_minutes=_minutes(post), answer=answer)
        case "reject":
            return decisions.reject(**said, advice=rejecting.advice(post.get("advice", "")))
        case "edit":
            args = drafts.read(action, post.dict())
            return _edited(**said, confirm=confirm, args=args, answer=answer)
        case _:
            raise Refused("invalid", "approve, reject or edit?")


def _edited(**said: Any) -> Decision:
    try:
        return decisions.edit(**said)
    except DataError:
        # A NUL, say, in an argument that the summary names.
        raise Refused("invalid", "an argument holds a character that cannot be kept") from None


def _comment(post: QueryDict) -> str:
    """The comment as it is signed and stored."""
    return reviewing.comment(post.get("comment", ""))


def _minutes(post: QueryDict) -> int:
    """For how long equal calls are allowed too; 0 without the tick, whatever the choice beside it says."""
    chosen = post.get("for_minutes", "")
    if not post.get("while"):
        return 0
    if not (chosen.isascii() and chosen.isdigit() and len(chosen) < 6) or not int(chosen):
        raise Refused("invalid", "for how many minutes?")
    return int(chosen)


def _answer(request: HttpRequest, decision: Decision, *, whole: bool = False) -> HttpResponse:
    """What came of it: the panel (or the whole card) for htmx, else the inbox with a message."""
    action = queries.get_visible(person(request), decision.action.pk)
    if not request.headers.get("HX-Request"):
        messages.success(request, decision.message)
        return redirect(f"/?open={action.pk}")
    told = {
        "id": str(action.pk),
        "effect": decision.effect,
        "state": action.state,
        "message": decision.message,
    }
    if whole:
        response = render(request, "approvals/_card.html", {"card": _card(person(request), action)})
        response.headers["HX-Retarget"] = "#card"
    else:
        response = panels.answer(request, action)
    response.headers["HX-Trigger-After-Settle"] = json.dumps({"agentsec:decided": told})
    return response


def _not_decided(request: HttpRequest, action: Action, refused: Refused) -> HttpResponse:
    """Nothing happened, and why."""
    fresh = queries.get_visible(person(request), action.pk)
    if not request.headers.get("HX-Request"):
        messages.error(request, refused.detail)
        return redirect(f"/?open={action.pk}")
    status = 409 if refused.code == "conflict" else 422
    form = request.POST.get("verdict", "")
    return panels.answer(request, fresh, refused=refused, form=form, status=status)


def _card(user: User, action: Action) -> presenters.Card:
    return presenters.card(action, user=user)


def _way(user: User, action: Action) -> dict[str, Any]:
    export = may(user, Verb.TRACE_EXPORT, team=action.team, groups=action.groups)
    return {"journey": journey(action), "may_export": export.allowed}
