"""Releases: what was published, what changed, any two side by side, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from agentsec_site.pages.guard import page, person, words
from agentsec_site.pages.stories import actor_names
from approvals import backtest
from policies import foureyes, history, releases, restoring
from policies.access import Verb, actor, may
from policies.history import Told
from policies.models import Release
from traces.problems import Refused


@require_safe
@page(Verb.POLICY_READ)
def listing(request: HttpRequest) -> HttpResponse:
    """Every release, the newest first, with what it changed."""
    below = request.GET.get("below", "")
    told, more = history.listed(below=int(below) if below.isdecimal() and len(below) < 18 else None)
    names = actor_names(item.release.published_by for item in told)
    shown = {"told": [_named(item, names) for item in told], "more": more, **_about(request)}
    waiting = releases.changes(releases.draft_content())
    return render(request, "policies/releases.html", {**shown, "waiting": len(waiting), "older": bool(below)})


@require_safe
@page(Verb.POLICY_READ)
def one(request: HttpRequest, release_id: int) -> HttpResponse:
    """One release against its predecessor, and its rules."""
    told = history.one(release_id)
    rules = [] if told.altered else history.rules(told.release)
    names = actor_names([told.release.published_by])
    shown = {**_named(told, names), "rules": rules, **_about(request)}
    return render(request, "policies/release.html", shown)


@require_safe
@page(Verb.POLICY_READ)
def choose(request: HttpRequest) -> HttpResponse:
    """The form of the list, turned into an address that can be passed on."""
    before, after = (request.GET.get(name, "").strip() for name in ("before", "after"))
    sides = [history.side(name) for name in (before, after)]
    if sides[0].release is None:
        return redirect("policy-between", before=_number(sides[1].release), after=history.DRAFT)
    return redirect("policy-between", before=sides[0].release.pk, after=after)


@require_safe
@page(Verb.POLICY_READ)
def between(request: HttpRequest, before: int, after: str) -> HttpResponse:
    """Any two releases, or a release and the draft."""
    one, other, diff = history.between(str(before), after)
    shown: dict[str, Any] = {"one": one, "other": other, "diff": diff}
    shown["test"] = backtest.of_release(releases.digest_of(other.content)) if other.release is None else None
    return render(request, "policies/between.html", shown)


@require_http_methods(["GET", "HEAD", "POST"])
@page(Verb.POLICY_EDIT)
def roll_back(request: HttpRequest, release_id: int) -> HttpResponse:
    """What going back to a release would change and, by POST, going back."""
    if request.method == "POST":
        try:
            return _rolled_back(request, release_id)
        except Refused as refused:
            messages.error(request, refused.detail)
            return redirect("policy-rollback", release_id=release_id)
    seen = restoring.outlook(release_id)
    shown = {"seen": seen, "diff": seen.difference, "four_eyes": foureyes.required(), "lost": _lost(seen)}
    return render(request, "policies/rollback.html", shown)


def _rolled_back(request: HttpRequest, release_id: int) -> HttpResponse:
    done = restoring.roll_back(
        release_id=release_id, by=actor(person(request)), note=words(request, "note"),
        deciding=request.POST.get("deciding", ""), despite=request.POST.getlist("despite"),
    )  # fmt: skip
    if done.release is None:
        messages.info(request, done.why)
        return redirect("policy-rollback", release_id=release_id)
    messages.success(request, f"Release {done.release.pk} decides from now on: release {release_id} again.")
    return redirect("policy-release", release_id=done.release.pk)


def _lost(seen: restoring.Outlook) -> list[str]:
    """Edits of the draft that nobody published: going back undoes them."""
    waiting = set(releases.changes(releases.draft_content()))
    return sorted(waiting) if seen.draft.items else []


def _named(told: Told, names: Mapping[str, str]) -> dict[str, Any]:
    by = told.release.published_by
    return {"told": told, "release": told.release, "diff": told.difference, "by": names.get(by, by)}


def _about(request: HttpRequest) -> dict[str, Any]:
    newest = Release.objects.order_by("-id").first()
    return {"newest": newest, "may_edit": may(request.user, Verb.POLICY_EDIT).allowed}


def _number(release: Release | None) -> int:
    if release is None:
        raise Refused("invalid", "Choose a release on at least one side.")
    return release.pk
