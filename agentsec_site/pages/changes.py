"""Changes that wait for a second person, and what became of others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from agentsec_site.pages.guard import page, person, words
from agentsec_site.pages.stories import actor_names
from approvals import promotion
from policies import changes, foureyes, hands
from policies.access import Verb, actor
from policies.foureyes_models import ProposedChange
from policies.textdiff import written
from traces.problems import Refused

SHOWN, DECIDED = 200, 30


@dataclass(frozen=True)
class Field:
    """One thing that changes, as a reader wants it: "" where there was or will be nothing."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class Shown:
    """A change as a page shows it: field by field, who is behind it, and why one cannot confirm it."""

    row: ProposedChange
    fields: list[Field]
    by: str
    decided_by: str
    why_not: str
    mine: bool


@require_safe
@page(Verb.POLICY_READ)
def listing(request: HttpRequest) -> HttpResponse:
    """What waits, and the latest that were decided."""
    rows = ProposedChange.objects.defer("sealed")
    waiting = rows.filter(state=ProposedChange.State.WAITING)[:SHOWN]
    decided = rows.exclude(state=ProposedChange.State.WAITING)[:DECIDED]
    shown = {"waiting": _shown(request, list(waiting)), "decided": _shown(request, list(decided))}
    return render(request, "policies/changes.html", {**shown, "four_eyes": foureyes.required()})


@require_POST
@page(Verb.POLICY_READ)
def confirm(request: HttpRequest, change_id: int) -> HttpResponse:
    """Apply exactly what was shown; what is shown once stands on this one answer."""
    try:
        done = changes.confirm(change_id=change_id, user=person(request))
        if done.change.kind == "agent.mode":
            promotion.settle(agent_name=done.change.target, user=person(request))
    except Refused as refused:
        messages.error(request, refused.detail)
        return redirect("changes")
    if done.once:
        return render(request, "policies/change_once.html", {"row": done.change, "value": done.once})
    messages.success(request, f"Done: {done.change.title}.")
    return redirect("changes")


@require_POST
@page(Verb.POLICY_READ)
def refuse(request: HttpRequest, change_id: int) -> HttpResponse:
    """Say no, or take one's own back."""
    why = words(request, "why")
    try:
        row = changes.refuse(change_id=change_id, user=person(request), why=why)
        messages.success(request, f"{row.get_state_display()}: {row.title}.")
    except Refused as refused:
        messages.error(request, refused.detail)
    return redirect("changes")


def _shown(request: HttpRequest, rows: list[ProposedChange]) -> list[Shown]:
    user = person(request)
    found, known = changes.visible(user, rows), hands.read()
    names = actor_names([name for row in found for name in (row.by, row.decided_by)])
    return [
        Shown(
            row, _fields(row.before, row.after), names.get(row.by, row.by),
            names.get(row.decided_by, row.decided_by),
            changes.why_not(row, user, known=known) if row.state == row.State.WAITING else "",
            row.by == actor(user),
        )
        for row in found
    ]  # fmt: skip


def _fields(before: Any, after: Any) -> list[Field]:
    """What was and what will be; where only one of the two has fields, the other stands as a whole."""
    was, will = (side if isinstance(side, dict) else {} for side in (before, after))
    found = [Field(name, written(was.get(name)), written(will.get(name))) for name in sorted({*was, *will})]
    if not isinstance(before, dict) and not isinstance(after, dict):
        return [Field("", written(before), written(after))]
    return found + ([Field("now", written(before), written(before))] if before and not was else [])
