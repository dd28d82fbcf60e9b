"""The credentials page: every key, secret and grant, with what needs attention first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from agentsec_site.pages.guard import page, person, words
from approvals import credentials
from approvals.credentials import Credential
from policies import accounts, changes, secrets
from policies.access import Verb, actor
from policies.foureyes import NeedsSecond
from policies.models import User
from traces.problems import HTTP_STATUS, Refused

MOST_MINUTES = 7 * 24 * 60
UNUSED = "unused"


@dataclass(frozen=True)
class Line:
    """One of them as this person sees it."""

    item: Credential
    kind: str
    may: bool

    @property
    def field(self) -> str:
        return f"{self.item.kind}:{self.item.key}"


@require_safe
@page(Verb.ACCOUNTS_READ)
def overview(request: HttpRequest) -> HttpResponse:
    """All of them; `kind` shows one kind only."""
    lines, chosen = _lines(person(request)), request.GET.get("kind", "")
    counts = Counter(line.item.kind for line in lines)
    shown = {
        "lines": [line for line in lines if chosen in ("", line.item.kind)],
        "chosen": chosen, "all": len(lines),
        "kinds": [(kind, about.plural, counts[kind]) for kind, about in credentials.KINDS.items()],
        "unused": [line for line in lines if line.item.unused and line.may],
        "grave": sum(line.item.look == credentials.DANGER for line in lines),
        "near": sum(line.item.look == credentials.WARN for line in lines),
        "days": settings.AGENTSEC_REVIEW_DAYS,
    }  # fmt: skip
    return render(request, "credentials/page.html", shown)


@require_POST
@page(Verb.ACCOUNTS_READ)
def remove(request: HttpRequest) -> HttpResponse:
    """First what would go is shown, then, confirmed, it goes. `item` names each as kind:key, or is `unused`.

    What was proposed because nobody used it, and was used meanwhile, stays.
    """
    user, asked = person(request), request.POST.getlist("item")
    lines = {line.field: line for line in _lines(user)}
    only_unused = asked == [UNUSED] or request.POST.get("why") == UNUSED
    wanted = [name for name, line in lines.items() if line.item.unused] if asked == [UNUSED] else asked
    chosen = [lines[name] for name in wanted if name in lines and lines[name].may]
    stale = len(wanted) - len(chosen)
    if only_unused:
        chosen, stale = _still_unused(chosen, stale)
    if request.POST.get("confirmed") != "yes":
        shown = {"lines": chosen, "stale": stale, "why": UNUSED if only_unused else ""}
        return render(request, "credentials/remove.html", shown)
    for line in chosen:
        _remove(request, user, line)
    if stale:
        messages.info(request, f"{stale} of them changed meanwhile and stayed as they are.")
    return redirect("credentials")


@require_http_methods(["GET", "HEAD", "POST"])
@page(Verb.KEYS_EDIT)
def rotate_key(request: HttpRequest, key: int) -> HttpResponse:
    """A new key beside the old one; shown on this one answer and never again."""
    found = _found(f"key:{key}", person(request))
    if request.method != "POST":
        return _form(request, found)
    try:
        overlap, ends = _overlap(request), _ends(request)
        raw = credentials.rotate_key(key=str(key), user=person(request), overlap=overlap, expires_at=ends)
    except NeedsSecond as needed:
        return _kept(request, needed)
    except Refused as refused:
        return _form(request, found, error=refused)
    shown = {"what": f"The new key of {found.name.partition(' of ')[2]}", "value": raw, "overlap": overlap}
    return render(request, "credentials/once.html", shown)


@sensitive_post_parameters("value")
@require_http_methods(["GET", "HEAD", "POST"])
@page(Verb.SECRETS_EDIT)
def rotate_secret(request: HttpRequest, name: str) -> HttpResponse:
    """A new value, which nobody reads back; the one before works on for the overlap."""
    found = _found(f"secret:{name}", person(request))
    if request.method != "POST":
        return _form(request, found)
    try:
        credentials.rotate_secret(
            name=name, value=request.POST.get("value", ""), user=person(request), overlap=_overlap(request),
            expires_at=_ends(request),
        )  # fmt: skip
    except NeedsSecond as needed:
        return _kept(request, needed)
    except Refused as refused:
        return _form(request, found, error=refused)
    messages.success(request, f"The secret {name} has a new value.")
    return redirect("credentials")


def _lines(user: User) -> list[Line]:
    may = {kind: credentials.may_remove(user, kind) for kind in credentials.KINDS}
    return [Line(item, credentials.KINDS[item.kind].title, may[item.kind]) for item in credentials.listed()]


def _still_unused(chosen: list[Line], stale: int) -> tuple[list[Line], int]:
    left = [line for line in chosen if line.item.unused]
    return left, stale + len(chosen) - len(left)


def _remove(request: HttpRequest, user: User, line: Line) -> None:
    name = f"{line.kind} {line.item.name}"
    try:
        credentials.remove(kind=line.item.kind, key=line.item.key, user=user)
    except NeedsSecond as needed:
        changes.keep(needed, by=actor(user))
        messages.info(request, f"{name}: somebody else has to confirm it, on /changes.")
    except Refused as refused:
        messages.error(request, f"{name}: {refused.detail}")
    else:
        messages.success(request, f"{name} is gone.")


def _found(field: str, user: User) -> Credential:
    for line in _lines(user):
        if line.field == field:
            return line.item
    raise Refused("not_found", "There is no such key or secret, or it has ended.")


def _overlap(request: HttpRequest) -> timedelta:
    text = words(request, "overlap")
    if not (text.isascii() and text.isdecimal() and int(text[:9]) <= MOST_MINUTES):
        raise Refused("invalid", f"The overlap is 0 to {MOST_MINUTES} minutes.", field="overlap")
    return timedelta(minutes=int(text[:9]))


def _ends(request: HttpRequest) -> datetime | None:
    """The new end, None for the one that it has."""
    text = words(request, "days")
    if not text:
        return None
    days = int(text[:9]) if text.isascii() and text.isdecimal() else 0
    return accounts.in_days(days)


def _form(request: HttpRequest, found: Credential, *, error: Refused | None = None) -> HttpResponse:
    default = 60
    if found.kind == "secret":
        default = int(secrets.agreed_overlap(found.name).total_seconds() // 60)
    shown = {
        "item": found, "most": MOST_MINUTES, "error": error.detail if error else "",
        "overlap": request.POST.get("overlap", default), "days": request.POST.get("days", ""),
    }  # fmt: skip
    status = HTTP_STATUS[error.code] if error else 200
    return render(request, "credentials/rotate.html", shown, status=status)


def _kept(request: HttpRequest, needed: NeedsSecond) -> HttpResponse:
    changes.keep(needed, by=actor(person(request)))
    messages.info(request, "Somebody else has to confirm it, on /changes.")
    return redirect("credentials")
