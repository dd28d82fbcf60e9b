"""Ending a running or waiting action from its card."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST

from approvals import stopping
from approvals.collab_views import done
from approvals.views import page_of, person
from policies.access import Verb


@require_POST
@page_of(Verb.INBOX_SEE)
def stop(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Stop what runs, or call off what has not started."""

    def work() -> str:
        why = request.POST.get("why", "")
        return stopping.stop(action_id=action_id, user=person(request), why=why).message

    return done(request, action_id, work)
