"""The part of a card that waits for a plan."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from approvals import queries
from approvals.sql.showing import shown
from approvals.views import page_of, person
from policies.access import Verb


@require_safe
@page_of(Verb.INBOX_SEE)
def plan(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """The plan of an action that this person may see, as it is now."""
    action = queries.get_visible(person(request), action_id)
    return render(request, "approvals/_plan.html", {"action": action, "shown": shown(action)})
