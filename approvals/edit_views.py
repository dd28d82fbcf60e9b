"""The form in which a reviewer changes arguments, field by field or as JSON; it decides nothing."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from approvals import drafts, panels, queries
from approvals.views import page_of, person
from policies.access import Verb


@require_http_methods(["GET", "HEAD", "POST"])
@page_of(Verb.INBOX_SEE)
def edit(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """The form, empty of changes; posted, the same draft the other way: as JSON, or as fields.

    Never for other arguments than those that the person saw: then the draft is shown to be copied.
    """
    action = queries.get_visible(person(request), action_id)
    post = request.POST.dict()
    if panels.unseen(request, action):
        answer = panels.answer(request, action, form="edit", status=409)
        answer.headers["HX-Retarget"], answer.headers["HX-Reswap"] = "#panel", "outerHTML"
        return answer
    if request.method == "POST":
        form = drafts.turned(action, post, to_json=request.GET.get("as") == "json")
    else:
        form = drafts.opened(action)
    return render(request, "approvals/_edit.html", {"action": action, "form": form})
