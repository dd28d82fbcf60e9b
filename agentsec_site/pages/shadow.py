"""What decides beside the rules that hold and is obeyed by none: a whole release, and single rules."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from agentsec_site.pages.guard import page, person, words
from agentsec_site.pages.stories import actor_names
from approvals import shadow, shadow_counts, shadow_release
from approvals.shadow_models import ShadowRelease
from policies import differ, foureyes, releases
from policies.access import Verb, actor, may
from policies.models import Release
from traces.problems import Refused

EARLIER = 10


@require_safe
@page(Verb.POLICY_READ)
def overview(request: HttpRequest) -> HttpResponse:
    """The release in shadow, if one is; earlier ones; and what single rules in shadow would have done."""
    running = shadow_release.running()
    content = releases.draft_content()
    shown = {
        "counted": shadow_counts.counted(running) if running else None,
        "earlier": ShadowRelease.objects.exclude(state=ShadowRelease.State.RUNNING).defer("content")[
            :EARLIER
        ],
        "waiting": len(releases.changes(content)),
        "seen": releases.digest_of(content),
        "rules": shadow.counts(),
        "days": shadow.DAYS,
    }
    return render(request, "policies/shadow.html", {**shown, **_about(request, running)})


@require_safe
@page(Verb.POLICY_READ)
def one(request: HttpRequest, shadow_id: int) -> HttpResponse:
    """One release in shadow: what it counted, and what publishing it would change."""
    row = shadow_release.get(shadow_id)
    diff = differ.compare(releases.newest_content(), json.loads(row.content))
    shown = {"counted": shadow_counts.counted(row), "diff": diff, "lost": _lost(row)}
    return render(request, "policies/shadow_one.html", {**shown, **_about(request, row)})


@require_POST
@page(Verb.POLICY_EDIT)
def start(request: HttpRequest) -> HttpResponse:
    """Put the draft in shadow."""
    by, seen = actor(person(request)), request.POST.get("seen", "")
    note = words(request, "note")
    return _done(request, lambda: shadow_release.start(by=by, note=note, seen=seen), "It counts from now on.")


@require_POST
@page(Verb.POLICY_EDIT)
def stop(request: HttpRequest, shadow_id: int) -> HttpResponse:
    """Count no further."""
    by = actor(person(request))
    return _done(request, lambda: shadow_release.stop(shadow_id=shadow_id, by=by), "It counts no further.")


@require_POST
@page(Verb.POLICY_EDIT)
def drop(request: HttpRequest, shadow_id: int) -> HttpResponse:
    """Stop, and forget what was counted."""
    by = actor(person(request))
    return _done(request, lambda: shadow_release.drop(shadow_id=shadow_id, by=by), "It is forgotten.")


@require_POST
@page(Verb.POLICY_EDIT)
def promote(request: HttpRequest, shadow_id: int) -> HttpResponse:
    """Let exactly this decide from now on."""
    try:
        done = shadow_release.promote(
            shadow_id=shadow_id, by=actor(person(request)), deciding=request.POST.get("deciding", ""),
            note=words(request, "note"),
        )  # fmt: skip
    except Refused as refused:
        messages.error(request, refused.detail)
        return redirect("policy-shadow-one", shadow_id=shadow_id)
    if done is None:
        messages.info(request, "Four-eyes is on: the draft is set, and somebody else has to promote it.")
        return redirect("policy-shadow-one", shadow_id=shadow_id)
    messages.success(request, f"Release {done.pk} decides from now on.")
    return redirect("policy-release", release_id=done.pk)


def _lost(row: ShadowRelease) -> list[str]:
    """What the draft holds besides, if anybody edited it: publishing what is in shadow undoes it."""
    draft = releases.draft_content()
    if not row.open or not releases.changes(draft):
        return []
    return differ.compare(json.loads(row.content), draft).lines


def _done(request: HttpRequest, verb: Callable[[], object], said: str) -> HttpResponse:
    try:
        verb()
        messages.success(request, said)
    except Refused as refused:
        messages.error(request, refused.detail)
    return redirect("policy-shadow")


def _about(request: HttpRequest, row: ShadowRelease | None) -> dict[str, Any]:
    return {
        "may_edit": may(request.user, Verb.POLICY_EDIT).allowed,
        "by": actor_names([row.by]).get(row.by, row.by) if row else "",
        "newest": Release.objects.order_by("-id").first(),
        "four_eyes": foureyes.required(),
    }
