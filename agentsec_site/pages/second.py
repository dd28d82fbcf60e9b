"""Signing in by a passkey, and the second factor behind a password."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from agentsec_site.pages import entering
from agentsec_site.pages.people import wanted_page
from policies import factors, passkeys
from traces.problems import HTTP_STATUS, Refused
from traces.signatures import unbase64url

ASKED = "passkey_asked"


@never_cache
@require_POST
def options(request: HttpRequest) -> HttpResponse:
    """What a browser needs to show a passkey: of the person whose second factor is awaited, else any."""
    waiting = entering.pending(request)
    try:
        wish, state = passkeys.ask(waiting.user if waiting else None)
    except Refused as refused:
        return JsonResponse({"why": refused.detail}, status=HTTP_STATUS[refused.code])
    request.session[ASKED] = state["challenge"]
    return JsonResponse(wish)


@never_cache
@require_POST
def passkey(request: HttpRequest) -> HttpResponse:
    """Sign in by a passkey alone: it is both factors, since it verified who holds it."""
    try:
        user = _shown(request).user
    except Refused as refused:
        shown = {"next": wanted_page(request), "why": refused.detail, "passkeys_at": passkeys.site()}
        return render(request, "people/sign_in.html", shown, status=401)
    return entering.let_in(request, user, method="passkey", wanted=wanted_page(request))


@never_cache
@sensitive_post_parameters("code")
@require_http_methods(["GET", "HEAD", "POST"])
def second(request: HttpRequest) -> HttpResponse:
    """Behind the password: a code of the app, a recovery code, or a passkey."""
    waiting = entering.pending(request)
    if waiting is None:
        return redirect("sign-in")
    shown = {"person": waiting.user, "factors": factors.of(waiting.user), "passkeys_at": passkeys.site()}
    if request.method != "POST":
        return render(request, "people/second.html", shown)
    try:
        if request.POST.get("answer"):
            _shown(request, waiting)
            method = "passkey"
        else:
            method = factors.check_code(user=waiting.user, code=request.POST.get("code", "")[:40])
    except Refused as refused:
        shown["error"] = refused.detail
        return render(request, "people/second.html", shown, status=HTTP_STATUS[refused.code])
    return entering.let_in(
        request, waiting.user, method=f"{waiting.method} and {method}", wanted=waiting.wanted
    )


def _shown(request: HttpRequest, waiting: entering.Pending | None = None) -> passkeys.Passkey:
    """The passkey that answered what was asked here; each question is answered once."""
    asked = request.session.pop(ASKED, "")
    if not asked:
        raise Refused("forbidden", "Nothing was asked for: try again.")
    found, _ = passkeys.recognise(
        challenge=unbase64url(asked),
        answer=request.POST.get("answer", ""),
        user=waiting.user if waiting else None,
    )
    if not found.user.is_active:
        raise Refused("forbidden", "This passkey is not known here.")
    return found
