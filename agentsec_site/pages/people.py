"""Sign-in, links, reset and the account page: each parses, calls one verb of `policies.people`, renders."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import authenticate, logout
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from agentsec_site.context import THEMES
from agentsec_site.pages import entering
from agentsec_site.pages.guard import person
from policies import accounts, passkeys, people
from policies.access import actor
from policies.models import Link, PersonalToken
from traces import clean
from traces.problems import HTTP_STATUS, Refused

LONGEST_NAME = 255


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """The one door for people. Too many wrong passwords are answered by django-axes before this page."""
    wanted = wanted_page(request)
    if request.headers.get("HX-Request"):
        # A fragment was asked for after the session ended: the whole page goes to the sign-in.
        return HttpResponse(
            status=204, headers={"HX-Redirect": f"/sign-in?{urlencode({'next': _shown_page(request)})}"}
        )
    if request.method == "POST":
        # Of what nobody can be called, the list of failed sign-ins takes as much as it can hold.
        name = clean.storable(request.POST.get("username", ""))[:LONGEST_NAME]
        password = request.POST.get("password", "")
        user = authenticate(request, username=name, password=password)
        if user is not None:
            return entering.enter(request, user, method="password", wanted=wanted)
    elif request.user.is_authenticated:
        return HttpResponseRedirect(wanted)
    failed = request.method == "POST"
    shown = {
        "next": wanted,
        "failed": failed,
        "name": request.POST.get("username", ""),
        "passkeys_at": passkeys.site(),
    }
    return render(request, "people/sign_in.html", shown, status=401 if failed else 200)


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """With `next`, to sign in again: for what wants to know that it is still the same person."""
    wanted = wanted_page(request)
    logout(request)
    return redirect("sign-in" if wanted == "/" else f"/sign-in?{urlencode({'next': wanted})}")


@never_cache
@sensitive_post_parameters("password", "again")
@require_http_methods(["GET", "HEAD", "POST"])
def welcome(request: HttpRequest, token: str) -> HttpResponse:
    """A set-up, invitation, reset or demo link. Opening it changes nothing, but a demo link signs in."""
    try:
        link = people.peek(token)
        if link.purpose == Link.Purpose.DEMO:
            person_of_demo = people.open_demo(token=token, remote=request.META.get("REMOTE_ADDR", ""))
            return entering.let_in(request, person_of_demo, method="demo link")
        if request.method == "POST":
            return _redeem(request, token)
    except Refused as refused:
        return _refused(request, refused, token)
    return render(request, "people/welcome.html", {"link": link, "token": token})


def _redeem(request: HttpRequest, token: str) -> HttpResponse:
    password = request.POST.get("password", "")
    if password != request.POST.get("again", ""):
        raise Refused("invalid", "The two passwords differ.", field="again")
    name, email = request.POST.get("name", "").strip(), request.POST.get("email", "").strip()
    user = people.redeem(token=token, password=password, name=name, email=email)
    return entering.enter(request, user, method="link")


def _refused(request: HttpRequest, refused: Refused, token: str) -> HttpResponse:
    """The form again with what is wrong with it, or the page that says why the link does not work."""
    status = HTTP_STATUS[refused.code]
    if refused.code not in ("invalid", "conflict"):
        return render(request, "people/no_link.html", {"why": refused.detail}, status=status)
    shown = {"link": people.peek(token), "token": token, "error": refused.detail, "post": request.POST}
    return render(request, "people/welcome.html", shown, status=status)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def reset(request: HttpRequest) -> HttpResponse:
    """Ask for a reset link by mail; the answer is the same whether or not there is such a person."""
    shown = {"mails": bool(settings.EMAIL_HOST), "sent": False}
    if request.method == "POST" and settings.EMAIL_HOST:
        people.request_reset(name=request.POST.get("name", "").strip())
        shown["sent"] = True
    return render(request, "people/reset.html", shown)


@never_cache
@login_required
@require_safe
def account(request: HttpRequest) -> HttpResponse:
    """Who one is here, one's tokens, and the theme."""
    return _account(request)


@never_cache
@login_required
@require_POST
def make_token(request: HttpRequest) -> HttpResponse:
    """A personal token, shown on this one answer and never again."""
    days = request.POST.get("days", "")
    try:
        token = people.issue_token(
            person(request), days=int(days) if days.isdecimal() and len(days) < 6 else 0
        )
    except Refused as refused:
        return _account(request, error=refused.detail, status=HTTP_STATUS[refused.code])
    return _account(request, fresh=token)


@login_required
@require_POST
def set_keys(request: HttpRequest) -> HttpResponse:
    """Switch keys of one character on or off for oneself."""
    wish, user = request.POST.get("keys"), person(request)
    if wish not in ("on", "off"):
        return _account(request, error="Say on or off.", status=HTTP_STATUS["invalid"])
    accounts.set_single_keys(user=user, on=wish == "on", by=actor(user))
    messages.success(request, f"Keys of one character are {wish}. Pages that are open follow when reloaded.")
    return redirect(f"{reverse('account')}#single-keys")


@login_required
@require_POST
def revoke_token(request: HttpRequest, token_id: int) -> HttpResponse:
    token = get_object_or_404(PersonalToken, pk=token_id, user=request.user)
    people.revoke_token(token=token, by=actor(person(request)))
    messages.success(request, f"The token {token.prefix}… is revoked.")
    return redirect("account")


def _account(request: HttpRequest, *, status: int = 200, **shown: str) -> HttpResponse:
    tokens = PersonalToken.objects.filter(user=person(request), revoked_at=None).order_by("-created_at")
    return render(
        request, "people/account.html", {"tokens": tokens, "themes": THEMES, **shown}, status=status
    )


def _shown_page(request: HttpRequest) -> str:
    """The page that the fragment was for, as htmx names it."""
    shown = urlsplit(request.headers.get("HX-Current-URL", ""))
    return f"{shown.path}?{shown.query}" if shown.query else shown.path or "/"


def wanted_page(request: HttpRequest) -> str:
    """Where to go after signing in: a page of this site, never another site."""
    wanted = request.POST.get("next") or request.GET.get("next") or "/"
    here = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    # A bare word would be taken for the name of a view, and for an error where there is none.
    return wanted if here and wanted.startswith("/") else "/"
