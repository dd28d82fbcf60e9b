"""Suggested rules: the list, one with its evidence and what it would change, and what people make of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from agentsec_site.pages.guard import page, person
from approvals import suggest
from approvals.growth_models import Suggestion
from policies.access import Verb, may
from policies.backtest import Difference
from policies.rules import sentence
from traces.problems import Refused


@require_safe
@page(Verb.POLICY_READ)
def every(request: HttpRequest) -> HttpResponse:
    """What is offered, what was passed over and why, and what people have decided."""
    return render(request, "growth/suggestions.html", _listed(request))


@require_POST
@page(Verb.POLICY_READ)
def look(request: HttpRequest) -> HttpResponse:
    """Look through the decisions now. It changes what is offered, and decides nothing."""
    try:
        suggest.find()
    except Refused as refused:
        messages.error(request, refused.detail)
    return redirect("suggestions")


@require_safe
@page(Verb.POLICY_READ)
def one(request: HttpRequest, suggestion_id: int) -> HttpResponse:
    """A suggestion: whom it concerns, what it rests on, what it would change, in rules and in past calls."""
    row = Suggestion.objects.select_related("agent").filter(pk=suggestion_id).first()
    if row is None:
        raise Refused("not_found", "There is no such suggestion any more.")
    days = settings.AGENTSEC_SUGGEST["ends_after"]
    told = row.evidence
    shown = {
        "row": row, "told": told, "days": days, "longest": suggest.LONGEST_DAYS,
        "first": datetime.fromisoformat(told["first"]), "last": datetime.fromisoformat(told["last"]),
        "changes": Difference.from_json(told["difference"]).changes(rejected=False),
        "edits": _edits(row, days) if row.state == "offered" else (),
        "may_edit": may(request.user, Verb.POLICY_EDIT).allowed,
        "reviews": may(request.user, Verb.ACCOUNTS_READ).allowed,
    }  # fmt: skip
    return render(request, "growth/suggestion.html", shown)


@require_POST
@page(Verb.POLICY_EDIT)
def draft(request: HttpRequest, suggestion_id: int) -> HttpResponse:
    """Make it part of the draft, and on to publishing, which is a step of its own."""
    days = request.POST.get("days", "")
    wish = int(days[:4]) if days.isdecimal() and days.isascii() else 0
    try:
        row = suggest.draft(
            suggestion_id=suggestion_id, user=person(request), days=wish, digest=_seen(request)
        )
    except Refused as refused:
        messages.error(request, refused.detail)
        return _back(suggestion_id)
    messages.success(
        request, f"{row.rule} and the exceptions are in the draft. They decide nothing until it is published."
    )
    return redirect("admin:policies_publish")


@require_POST
@page(Verb.POLICY_EDIT)
def dismiss(request: HttpRequest, suggestion_id: int) -> HttpResponse:
    """Put it aside, with a reason."""
    reason = request.POST.get("reason", "").replace("\0", "")
    try:
        suggest.dismiss(
            suggestion_id=suggestion_id, user=person(request), reason=reason, digest=_seen(request)
        )
        messages.success(request, "Dismissed. It is not offered again until somebody asks for it.")
    except Refused as refused:
        messages.error(request, refused.detail)
        return _back(suggestion_id)
    return redirect("suggestions")


@require_POST
@page(Verb.POLICY_EDIT)
def again(request: HttpRequest, suggestion_id: int) -> HttpResponse:
    """Let a dismissed one be found again."""
    try:
        suggest.offer_again(suggestion_id=suggestion_id, user=person(request))
        suggest.find()
    except Refused as refused:
        messages.error(request, refused.detail)
    return redirect("suggestions")


def _listed(request: HttpRequest) -> dict[str, Any]:
    rows = Suggestion.objects.select_related("agent")
    return {
        "offered": [(row, row.evidence) for row in rows.filter(state="offered")],
        "decided": rows.exclude(state="offered").order_by("-decided_at")[:50],
        "passed": suggest.passed_over(), "needs": settings.AGENTSEC_SUGGEST,
        "may_edit": may(request.user, Verb.POLICY_EDIT).allowed, "now": timezone.now(),
        "reviews": may(request.user, Verb.ACCOUNTS_READ).allowed,
    }  # fmt: skip


def _edits(row: Suggestion, days: int) -> list[dict[str, str]]:
    end = timezone.now().replace(microsecond=0) + timedelta(days=days)
    return [
        {
            "name": edit.after.name, "before": edit.before.when.strip() if edit.before else "",
            "after": edit.after.when, "aloud": "" if edit.before else sentence(edit.after),
        }
        for edit in suggest.edits(row, end=end)
    ]  # fmt: skip


def _seen(request: HttpRequest) -> str:
    return request.POST.get("digest", "")


def _back(suggestion_id: int) -> HttpResponse:
    """To the suggestion, or to the list where it is gone."""
    if Suggestion.objects.filter(pk=suggestion_id).exists():
        return redirect("suggestion", suggestion_id=suggestion_id)
    return redirect("suggestions")
