"""What was allowed for a while in one session, for its page."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from agentsec_site.pages import readers
from agentsec_site.pages.guard import page, person
from approvals import forawhile
from policies.access import Verb


@require_safe
@page(Verb.TRACES_SEE)
def of_session(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """The list alone, for a page that is open already."""
    user = person(request)
    found = readers.session(user, session_id)
    readers.note_reading(user, found, fresh=False)
    shown = {"allowed": forawhile.of_session(found, user), "address": request.path, "session": found}
    return render(request, "approvals/_allowances.html", shown)
