"""Trust in agents: what each has shown, what is proposed, and a person's decision."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from agentsec_site.pages.guard import page, person
from approvals import promotion, trust
from approvals.growth_models import Promotion
from policies import changes
from policies.access import Verb, actor, may
from policies.foureyes import NeedsSecond
from policies.models import Agent
from traces.problems import Refused

SHOWN = 50


@require_safe
@page(Verb.POLICY_READ)
def every(request: HttpRequest) -> HttpResponse:
    """What is proposed, every agent with its mode, and what was decided."""
    rows = Promotion.objects.select_related("agent")
    shown = {
        "open": [(row, trust.Evidence.from_json(row.evidence)) for row in rows.filter(state="open")],
        "decided": rows.exclude(state="open").order_by("-decided_at")[:SHOWN],
        "agents": Agent.objects.select_related("team", "owner"), "wanted": settings.AGENTSEC_TRUST,
        "may_decide": may(request.user, Verb.TRUST_DECIDE).allowed,
        "reviews": may(request.user, Verb.ACCOUNTS_READ).allowed,
    }  # fmt: skip
    return render(request, "growth/promotions.html", shown)


@require_safe
@page(Verb.POLICY_READ)
def one(request: HttpRequest, agent_id: int) -> HttpResponse:
    """What one agent has shown, what it still lacks, and its history."""
    agent = Agent.objects.select_related("team", "owner").filter(pk=agent_id).first()
    if agent is None:
        raise Refused("not_found", "There is no such agent.")
    rows, shown = Promotion.objects.filter(agent=agent), promotion.standing(agent)
    page_ = {
        "agent": agent, "shown": shown, "row": rows.filter(state="open").first(),
        "lacks": shown.lacks() if agent.mode == Agent.Mode.READ_ONLY else [],
        "troubles": shown.troubles() if agent.mode == Agent.Mode.STANDARD else [],
        "decided": rows.exclude(state="open")[:SHOWN], "days": promotion.WINDOW_DAYS,
        "may_decide": may(request.user, Verb.TRUST_DECIDE).allowed,
        "reviews": may(request.user, Verb.ACCOUNTS_READ).allowed,
    }  # fmt: skip
    return render(request, "growth/agent.html", page_)


@require_POST
@page(Verb.POLICY_READ)
def look(request: HttpRequest) -> HttpResponse:
    """Weigh the evidence of every agent now. It may propose, and changes no mode."""
    found = promotion.find()
    messages.info(request, f"{len(found)} new proposals." if found else "Nothing new is proposed.")
    return redirect("promotions")


@require_POST
@page(Verb.TRUST_DECIDE)
def decide(request: HttpRequest, promotion_id: int) -> HttpResponse:
    """Accept or decline one proposal."""
    accept, reason = request.POST.get("choice") == "accept", request.POST.get("reason", "").replace("\0", "")
    try:
        done = promotion.decide(promotion_id=promotion_id, user=person(request), accept=accept, reason=reason)
        told = f"{done.agent.name} is now {done.agent.get_mode_display().lower()}." if accept else "Declined."
        messages.success(request, told)
    except NeedsSecond as needed:
        row = changes.keep(needed, by=actor(person(request)))
        messages.info(request, f"Change {row.pk} waits for somebody else to confirm it, on /changes.")
    except Refused as refused:
        messages.error(request, refused.detail)
    return redirect("promotions")
