"""Being away: one's own absence and stand-in, and everybody's for who edits people."""

from __future__ import annotations

from datetime import UTC, datetime

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from agentsec_site.pages.guard import page, person, words
from policies import absences, changes
from policies.absence_models import Absence
from policies.access import Verb, actor, may
from policies.foureyes import NeedsSecond
from policies.models import Role, User
from traces.problems import HTTP_STATUS, Refused

SHOWN = 200


@require_safe
@page(Verb.INBOX_SEE)
def away(request: HttpRequest) -> HttpResponse:
    """One's own absence, or a form to say one; for who edits people also those of others."""
    return _page(request)


@require_POST
@page(Verb.INBOX_SEE)
def go(request: HttpRequest) -> HttpResponse:
    """Say that somebody is away."""
    try:
        user = _whose(request, words(request, "user"))
        name = words(request, "stand_in")
        row = absences.go_away(
            user=user, since=_moment(request, "since"), until=_until(request),
            stand_in=_named(name) if name else None, by=actor(person(request)),
        )  # fmt: skip
    except NeedsSecond as needed:
        change = changes.keep(needed, by=actor(person(request)))
        messages.info(request, f"Somebody else has to confirm who stands in (change {change.pk}).")
        return redirect("away")
    except Refused as refused:
        return _page(request, error=refused.detail, status=HTTP_STATUS[refused.code])
    messages.success(request, f"{user.username} is away until {row.until:%-d %b %Y %H:%M} UTC.")
    return redirect("away")


@require_POST
@page(Verb.INBOX_SEE)
def end(request: HttpRequest, user_id: int) -> HttpResponse:
    """End an absence at once, begun or not."""
    found = User.objects.filter(pk=user_id).first()
    user = _whose(request, found.username if found else "\0")
    if absences.come_back(user=user, by=actor(person(request))) is not None:
        messages.success(request, f"{user.username} is back: nobody stands in any more.")
    return redirect("/" if words(request, "next") == "/" else "away")


def _page(request: HttpRequest, *, error: str = "", status: int = 200) -> HttpResponse:
    user = person(request)
    everybody = may(user, Verb.PEOPLE_EDIT).allowed
    rows = Absence.objects.filter(ended_at=None, until__gt=timezone.now()).select_related("user", "stand_in")
    shown = {
        "mine": absences.of(user), "fit": absences.fit(user), "error": error, "posted": request.POST,
        "others": rows.exclude(user=user).order_by("since")[:SHOWN] if everybody else (),
        "people": User.objects.filter(is_active=True).order_by("username") if everybody else (),
        "approves": user.has_role(Role.APPROVER),
    }  # fmt: skip
    return render(request, "people/away.html", shown, status=status)


def _whose(request: HttpRequest, name: str) -> User:
    """The person whose absence it is; oneself where no name is given. Raises Refused."""
    me = person(request)
    if name in ("", me.username):
        return me
    if not may(me, Verb.PEOPLE_EDIT).allowed:
        raise Refused("forbidden", "Only who edits people says when others are away.")
    return _named(name)


def _named(name: str) -> User:
    user = User.objects.filter(username=name).first()
    if user is None:
        raise Refused("invalid", f"There is no person called {name[:80]!r}.")
    return user


def _until(request: HttpRequest) -> datetime:
    until = _moment(request, "until")
    if until is None:
        raise Refused("invalid", "Say until when.")
    return until


def _moment(request: HttpRequest, name: str) -> datetime | None:
    """The moment that a field holds: with its zone where the page's script could tell it, else in UTC."""
    text = words(request, f"{name}_exact", most=40) or words(request, name, most=40)
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise Refused("invalid", "That is no date and time.") from None
