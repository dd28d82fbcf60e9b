"""Downloads of evidence, and the way from an action to its place in a trace."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_POST, require_safe

from agentsec_site.pages import readers
from agentsec_site.pages.guard import page, person
from approvals import evidence
from policies.access import Verb


@require_safe
@page(Verb.TRACES_SEE)
def find_action(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """To the action's place in its session."""
    found = readers.action(person(request), action_id)
    return redirect(f"/traces/sessions/{found.session_id}#action-{found.pk}")


@require_POST
@page(Verb.TRACES_SEE)
def of_action(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """The bundle of one action. The export is itself an entry."""
    user = person(request)
    found = readers.action(user, action_id, verb=Verb.TRACE_EXPORT)
    return _download(evidence.export(action=found, user=user), f"evidence-{found.pk}.zip")


@require_POST
@page(Verb.TRACES_SEE)
def of_session(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """The bundle of one session. The export is itself an entry."""
    user = person(request)
    found = readers.session(user, session_id, verb=Verb.TRACE_EXPORT)
    return _download(evidence.export_session(session=found, user=user), f"evidence-session-{found.pk}.zip")


def _download(content: bytes, name: str) -> HttpResponse:
    headers = {"Content-Disposition": content_disposition_header(True, name)}
    return HttpResponse(content, content_type="application/zip", headers=headers)
