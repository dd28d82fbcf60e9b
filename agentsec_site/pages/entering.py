"""Letting people in: by one factor where they have no other, else asked for the second; and who lacks one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.crypto import constant_time_compare

from policies import factors
from policies.models import User

BACKEND = "django.contrib.auth.backends.ModelBackend"
PENDING, SINCE = "second_factor", "signed_in_at"
# How long the second factor is waited for, and how long ago signing in counts as a moment ago; seconds.
PENDING_LIFE, FRESH_LIFE = 600, 600
# What somebody without the second factor that the site wants may still open.
OPEN = (
    "/account", "/sign-in", "/sign-out", "/welcome/", "/static/", "/healthz", "/reset", "/api/",
    "/.well-known/", "/token-status",
)  # fmt: skip


@dataclass(frozen=True)
class Pending:
    """Somebody whose first factor was right and whose second is awaited."""

    user: User
    method: str
    wanted: str


def enter(request: HttpRequest, user: User, *, method: str, wanted: str = "/") -> HttpResponse:
    """Sign in after a first factor, or go to the page that asks for the second one."""
    if not factors.of(user).names:
        return let_in(request, user, method=method, wanted=wanted)
    request.session.cycle_key()
    request.session[PENDING] = {
        "user": user.pk, "hash": user.get_session_auth_hash(), "method": method, "next": wanted,
        "at": time.time(),
    }  # fmt: skip
    return redirect("second-factor")


def let_in(request: HttpRequest, user: User, *, method: str, wanted: str = "/") -> HttpResponse:
    """Sign in. Appends `person.signed_in`."""
    request.session.pop(PENDING, None)
    login(request, user, backend=BACKEND)
    request.session[SINCE] = time.time()
    factors.note_sign_in(user=user, method=method)
    return redirect(wanted)


def pending(request: HttpRequest) -> Pending | None:
    """Whose second factor is awaited here; None where nobody's is (any more)."""
    held: dict[str, Any] = request.session.get(PENDING) or {}
    if not held or held["at"] < time.time() - PENDING_LIFE:
        return None
    user = User.objects.filter(pk=held["user"], is_active=True).first()
    # A password that was changed meanwhile is no first factor any more.
    if user is None or not constant_time_compare(held["hash"], user.get_session_auth_hash()):
        return None
    return Pending(user, held["method"], held["next"])


def is_fresh(request: HttpRequest) -> bool:
    """Whether whoever sits there signed in a moment ago."""
    return bool(request.session.get(SINCE, 0) > time.time() - FRESH_LIFE)


class SecondFactorMiddleware:
    """Nothing works for who lacks the second factor that this site wants, but adding one."""

    def __init__(self, answer: Callable[[HttpRequest], HttpResponse]) -> None:
        self.answer = answer

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path.startswith(OPEN) and isinstance(request.user, User):
            why = factors.lacking(request.user)
            if why:
                return self._send(request, why)
        return self.answer(request)

    def _send(self, request: HttpRequest, why: str) -> HttpResponse:
        if request.headers.get("HX-Request"):
            return HttpResponse(status=204, headers={"HX-Redirect": "/account/factors"})
        if request.method in ("GET", "HEAD"):
            return redirect("factors")
        return render(request, "site/refused.html", {"why": why}, status=403)
