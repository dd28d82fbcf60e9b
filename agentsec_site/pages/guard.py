"""What a page asks before it shows anything, and how it says no."""

from __future__ import annotations

import functools
from collections.abc import Callable

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache

from policies.access import Verb, require
from policies.models import User
from traces import clean
from traces.problems import HTTP_STATUS, Refused


def person(request: HttpRequest) -> User:
    """The signed-in person. Raises Refused("unauthorized")."""
    if not isinstance(request.user, User):
        raise Refused("unauthorized", "Sign in first.")
    return request.user


def words(request: HttpRequest, name: str, *, most: int = 500) -> str:
    """What somebody typed into a field, as far as it can be stored."""
    return clean.storable(request.POST.get(name, "")).strip()[:most]


def page(verb: Verb) -> Callable[[Callable[..., HttpResponse]], Callable[..., HttpResponse]]:
    """A view for signed-in people who may do this; a refusal becomes a page, or a note for htmx."""

    def wrap(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        @functools.wraps(view)
        def guarded(request: HttpRequest, *args: object, **values: object) -> HttpResponse:
            try:
                require(person(request), verb)
                return view(request, *args, **values)
            except Refused as refused:
                return refusal(request, refused)

        return never_cache(login_required(guarded))

    return wrap


def refusal(request: HttpRequest, refused: Refused) -> HttpResponse:
    """A refusal in words, with its HTTP status."""
    part = "traces/_refused.html" if request.headers.get("HX-Request") else "site/refused.html"
    return render(request, part, {"why": refused.detail}, status=HTTP_STATUS[refused.code])
