"""How a person signs in: passkeys, authenticator app, recovery codes. Changes want a fresh sign-in."""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import wraps
from io import BytesIO

import qrcode
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from qrcode.image.svg import SvgPathFillImage

from agentsec_site.pages import entering
from agentsec_site.pages.guard import person, words
from policies import factors, passkeys, totp
from policies.access import actor
from traces.problems import HTTP_STATUS, Refused

OFFERED, SECRET = "passkey_offered", "app_secret"
AGAIN = "Sign in again first: you signed in more than ten minutes ago."
View = Callable[..., HttpResponse]


def changing(view: View) -> View:
    """For whoever signed in a moment ago: a page left open changes nobody's way in."""

    @never_cache
    @login_required
    @wraps(view)
    def guarded(request: HttpRequest, *args: object, **values: object) -> HttpResponse:
        if not entering.is_fresh(request):
            if request.headers.get("Accept") == "application/json":
                return JsonResponse({"why": AGAIN}, status=403)
            return _page(request, status=403, error=AGAIN)
        try:
            return view(request, *args, **values)
        except Refused as refused:
            return _page(request, status=HTTP_STATUS[refused.code], error=refused.detail)

    return guarded


@never_cache
@login_required
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """What one has, and what one may add."""
    return _page(request)


@require_POST
@changing
def options(request: HttpRequest) -> HttpResponse:
    """What a browser needs to make a passkey."""
    try:
        wish, request.session[OFFERED] = passkeys.offer(person(request))
    except Refused as refused:
        return JsonResponse({"why": refused.detail}, status=HTTP_STATUS[refused.code])
    return JsonResponse(wish)


@require_POST
@changing
def add(request: HttpRequest) -> HttpResponse:
    """The passkey that the browser made."""
    user, state = person(request), request.session.pop(OFFERED, None)
    if state is None:
        raise Refused("invalid", "Nothing was offered: try again.")
    made = passkeys.register(
        user=user, state=state, answer=request.POST.get("answer", ""), name=words(request, "name", most=100)
    )
    factors.tell(user, f"The passkey “{made.name}” was added.")
    return _done(request, f"The passkey “{made.name}” is added.")


@require_POST
@changing
def rename(request: HttpRequest, passkey_id: int) -> HttpResponse:
    name = words(request, "name", most=100)
    passkeys.rename(user=person(request), passkey_id=passkey_id, name=name)
    return _done(request, f"It is called “{name}” now.")


@require_POST
@changing
def remove(request: HttpRequest, passkey_id: int) -> HttpResponse:
    user = person(request)
    gone = passkeys.remove(user=user, passkey_id=passkey_id, by=actor(user))
    factors.tell(user, f"The passkey “{gone.name}” was removed.")
    return _done(request, f"The passkey “{gone.name}” is removed.")


@require_http_methods(["GET", "HEAD", "POST"])
@changing
@sensitive_post_parameters("code")
def app(request: HttpRequest) -> HttpResponse:
    """The picture for an authenticator app, and the code that it shows then."""
    secret = request.session.setdefault(SECRET, totp.new_secret())
    address = totp.address(secret, person=person(request).username, site="agentsec")
    shown = {"secret": secret, "picture": _picture(address)}
    if request.method != "POST":
        return render(request, "people/app.html", shown)
    try:
        factors.add_app(user=person(request), secret=secret, code=request.POST.get("code", ""))
    except Refused as refused:
        shown["error"] = refused.detail
        return render(request, "people/app.html", shown, status=HTTP_STATUS[refused.code])
    del request.session[SECRET]
    factors.tell(person(request), "An authenticator app was added.")
    return _done(request, "The authenticator app is added. Make recovery codes too, for the day you lose it.")


@require_POST
@changing
def remove_app(request: HttpRequest) -> HttpResponse:
    user = person(request)
    factors.remove_app(user=user, by=actor(user))
    factors.tell(user, "The authenticator app was removed.")
    return _done(request, "The authenticator app is removed.")


@require_POST
@changing
def codes(request: HttpRequest) -> HttpResponse:
    """New recovery codes, on this one answer and never again."""
    return _page(request, codes=factors.new_codes(user=person(request)))


def _done(request: HttpRequest, message: str) -> HttpResponse:
    messages.success(request, message)
    return redirect("factors")


def _page(request: HttpRequest, *, status: int = 200, **shown: object) -> HttpResponse:
    user = person(request)
    told = {
        "factors": factors.of(user), "passkeys_at": passkeys.site(), "fresh": entering.is_fresh(request),
        "lacking": factors.lacking(user), **shown,
    }  # fmt: skip
    return render(request, "people/factors.html", told, status=status)


def _picture(address: str) -> str:
    """A QR code as a data: address, which the content policy allows for images."""
    buffer = BytesIO()
    qrcode.make(address, image_factory=SvgPathFillImage, border=2).save(buffer)
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
