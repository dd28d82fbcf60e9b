"""The page of the person whom a session serves: what is asked on their behalf, and their answer to it.

They come by a link that their host application gave them, or signed in. Nothing here decides by GET.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import AnonymousUser
from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponse
from django.middleware.csrf import rotate_token
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from approvals import confirming, mine, word, wordlinks
from approvals.confirming import Speaker
from approvals.decisions import Decision
from policies.models import User
from traces.problems import HTTP_STATUS, Refused

COOKIE = "agentsec_mine"
PATH = "/mine"
# Links that do not work, from one address in a minute: nobody mistypes 256 bits so often.
WRONG, WRONG_SECONDS = 30, 60


def speaker_of(request: HttpRequest) -> Speaker | None:
    """Whom this browser may speak for: its opened link's person, else whoever is signed in."""
    link = wordlinks.holder(request.COOKIES.get(COOKIE, ""))
    if link is not None:
        return confirming.of_link(link)
    if isinstance(request.user, User) and word.account_name(request.user):
        return confirming.of_account(request.user)
    return None


@never_cache
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """What waits for this person's word, and what became of the rest."""
    speaker = speaker_of(request)
    if speaker is None:
        return _no_link(request, "Open the link that your application shows you, or sign in.", 403)
    return _render(request, speaker, "mine/page.html", view=mine.view(speaker))


@never_cache
@require_safe
def asks(request: HttpRequest) -> HttpResponse:
    """The lists alone, for a page that looks again; 204 where nothing changed since `seen`."""
    speaker = speaker_of(request)
    if speaker is None:
        return HttpResponse(status=401)
    view = mine.view(speaker)
    if request.GET.get("seen") == view.mark:
        return HttpResponse(status=204)
    return _render(request, speaker, "mine/_asks.html", view=view)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def door(request: HttpRequest, token: str) -> HttpResponse:
    """A link: looking at it changes nothing, going on opens it once and leaves its address behind."""
    address = f"mine-wrong-{request.META.get('REMOTE_ADDR', '')}"
    if cache.get(address, 0) >= WRONG:
        return _no_link(request, "Too many links that do not work: wait a minute.", 429)
    if wordlinks.opened_here(token, wordlinks.holder(request.COOKIES.get(COOKIE, ""))):
        return redirect("mine")
    try:
        if request.method == "POST":
            return _enter(request, wordlinks.redeem(token))
        link = wordlinks.peek(token)
    except Refused as refused:
        cache.add(address, 0, WRONG_SECONDS)
        cache.incr(address)
        return _no_link(request, refused.detail, HTTP_STATUS[refused.code])
    return _render(request, confirming.of_link(link), "mine/open.html", link=link, token=token)


@never_cache
@require_POST
def decide(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Approve or reject exactly what was shown."""
    return _answer(request, lambda speaker: _decided(request, speaker, action_id))


@never_cache
@require_POST
def undo(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Take one's approval back."""
    return _answer(request, lambda speaker: confirming.undo(action_id=action_id, speaker=speaker))


@never_cache
@require_POST
def leave(request: HttpRequest) -> HttpResponse:
    """End the link that this browser holds; whoever uses it next sees nothing."""
    if (link := wordlinks.holder(request.COOKIES.get(COOKIE, ""))) is not None:
        wordlinks.leave(link)
    response = _no_link(request, "You have left your page. What you answered stands.", 200)
    response.delete_cookie(COOKIE, path=PATH)
    return response


def _decided(request: HttpRequest, speaker: Speaker, action_id: UUID) -> Decision:
    post = request.POST
    said: dict[str, Any] = {
        "action_id": action_id, "speaker": speaker, "digest": post.get("digest", ""),
    }  # fmt: skip
    match post.get("verdict"):
        case "approve":
            return confirming.approve(**said, confirm=post.get("confirm", ""))
        case "reject":
            return confirming.reject(**said, comment=post.get("comment", ""))
        case _:
            raise Refused("invalid", "approve or reject?")


def _answer(request: HttpRequest, verb: Any) -> HttpResponse:
    """Do it and show the page again, with what came of it."""
    speaker = speaker_of(request)
    if speaker is None:
        return _no_link(request, "Your link has ended. Ask the application for a new one.", 403)
    try:
        messages.success(request, verb(speaker).message)
    except Refused as refused:
        if refused.code == "not_found":
            raise Http404(refused.detail) from None
        messages.error(request, f"Nothing was done: {refused.detail}.")
    return redirect("mine")


def _enter(request: HttpRequest, opened: wordlinks.Opened) -> HttpResponse:
    rotate_token(request)
    response = redirect("mine")
    left = int((opened.link.expires_at - timezone.now()).total_seconds())
    response.set_cookie(
        COOKIE, opened.secret, max_age=max(1, left), path=PATH, httponly=True, samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )  # fmt: skip
    return _private(response)


def _no_link(request: HttpRequest, why: str, status: int) -> HttpResponse:
    shown = {"why": why, "accounts": settings.AGENTSEC_WORD_BY_ACCOUNT}
    return _private(render(request, "mine/no_link.html", shown, status=status))


def _render(request: HttpRequest, speaker: Speaker, template: str, **shown: Any) -> HttpResponse:
    if speaker.link is not None:
        # Whoever comes by a link sees no frame of the person who is signed in beside.
        shown["user"] = AnonymousUser()
    return _private(render(request, template, {"speaker": speaker, **shown}))


def _private(response: HttpResponse) -> HttpResponse:
    # Not no-referrer: with that a browser sends `Origin: null`, and no form passes its CSRF check.
    response.headers["Referrer-Policy"] = "strict-origin"
    response.headers["X-Robots-Tag"] = "noindex, nofollow"
    return response
