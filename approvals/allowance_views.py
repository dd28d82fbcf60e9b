"""What is allowed for a while, beside the inbox: the strip, and revoking."""

from __future__ import annotations

import json
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from approvals import forawhile
from approvals.views import page_of, person
from policies.access import Verb
from traces.problems import HTTP_STATUS, Refused


@require_safe
@page_of(Verb.INBOX_SEE)
def strip(request: HttpRequest) -> HttpResponse:
    """What stands now, of the groups of this person."""
    shown = {"allowed": forawhile.standing(person(request)), "address": request.path}
    return render(request, "approvals/_allowances.html", shown)


@require_POST
@page_of(Verb.INBOX_SEE)
def revoke(request: HttpRequest, allowance_id: UUID) -> HttpResponse:
    """End one at once; pages that show it are told, a page without scripts comes back to where it was."""
    try:
        row = forawhile.revoke(allowance_id=allowance_id, user=person(request))
        said, status = f"Revoked: {row.tool} is asked about again.", 200
    except Refused as refused:
        said, status = refused.detail, HTTP_STATUS[refused.code]
    if request.headers.get("HX-Request"):
        told = {"agentsec:allowances": {"message": said, "danger": status != 200}}
        return HttpResponse(status=204, headers={"HX-Trigger": json.dumps(told)})
    (messages.success if status == 200 else messages.error)(request, said)
    back = request.POST.get("next", "/")
    safe = url_has_allowed_host_and_scheme(back, allowed_hosts=None) and back.startswith("/")
    return redirect(back if safe else "/")
