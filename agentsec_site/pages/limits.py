"""The page of limits: each with what is used of it now, and who last ran into it."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from agentsec_site.pages.guard import page, person
from approvals import limit_usage
from policies.access import Verb, may
from policies.models import Agent
from traces.problems import Refused


@require_safe
@page(Verb.POLICY_READ)
def limits(request: HttpRequest) -> HttpResponse:
    """All limits, or those that the agent named in the address comes under; the tables alone for htmx."""
    shown = _limits(request.GET.get("agent", "").replace("\0", "")[:100])
    shown["may_edit"] = may(person(request), Verb.AGENTS_EDIT).allowed
    part = "_limits" if request.headers.get("HX-Request") else "limits"
    return render(request, f"policies/{part}.html", shown)


def _limits(name: str) -> dict[str, object]:
    agent = Agent.objects.select_related("team").filter(name=name).first() if name else None
    if name and agent is None:
        raise Refused("not_found", "There is no such agent.")
    return {
        "agent": agent,
        "agents": limit_usage.of_agents([agent.name] if agent else ()),
        "shared": limit_usage.shared(agent),
    }
