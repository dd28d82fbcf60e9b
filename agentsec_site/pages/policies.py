"""Trying policies out: the backtest of the draft, and the simulator."""

from __future__ import annotations

from typing import Any

import pydantic
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from agentsec_site.gateway import simulation
from agentsec_site.gateway.schemas_simulate import SimulateIn
from agentsec_site.pages.guard import page, person
from approvals import backtest, simulate
from policies import access
from policies.access import Verb
from policies.arguments import ArgumentsRefused, parse_json
from policies.models import Agent, Tool
from traces.problems import Refused

MAX_FORM = 1 << 20
DAYS = 30
FORM = {"agent": "", "tool": "", "args": "{}", "labels": "", "origin": "{}", "findings": "", "steps": ""}


@require_safe
@page(Verb.POLICY_READ)
def newest_backtest(request: HttpRequest) -> HttpResponse:
    """The newest backtest, and the form to start one."""
    return render(request, "policies/backtest.html", {"test": backtest.latest(), "days": DAYS})


@require_POST
@page(Verb.POLICY_READ)
def start_backtest(request: HttpRequest) -> HttpResponse:
    """Start a backtest of the draft as it is now; its own page then works it off, step by step."""
    days = request.POST.get("days", "")
    try:
        # A number that Python would rather not read at all is no number of days either.
        row = backtest.start(days=int(days[:4]) if days.isdecimal() else 0, by=access.actor(person(request)))
    except Refused as refused:
        messages.error(request, refused.detail)
        return redirect("policy-backtest")
    return redirect("policy-backtest-one", backtest_id=row.pk)


@require_safe
@page(Verb.POLICY_READ)
def one_backtest(request: HttpRequest, backtest_id: int) -> HttpResponse:
    """A backtest as it stands."""
    shown = {"test": backtest.get(backtest_id), "days": DAYS, "going": True}
    return render(request, "policies/backtest.html", shown)


@require_POST
@page(Verb.POLICY_READ)
def step_backtest(request: HttpRequest, backtest_id: int) -> HttpResponse:
    """Judge on for a second, and show how far it is."""
    test = backtest.step(backtest_id=backtest_id)
    if not request.headers.get("HX-Request"):
        return redirect("policy-backtest-one", backtest_id=backtest_id)
    return render(request, "policies/_backtest.html", {"test": test, "going": True})


@require_http_methods(["GET", "HEAD", "POST"])
@page(Verb.POLICY_READ)
def simulator(request: HttpRequest) -> HttpResponse:
    """Try a call, or a session step by step, on the rules that decide now or on the draft."""
    form = {name: request.POST.get(name, default) for name, default in FORM.items()}
    shown: dict[str, Any] = {"form": form, "draft": "draft" in request.POST}
    if request.method == "POST":
        try:
            shown["result"] = simulate.simulate(**simulation.wished(_wish(form, draft=shown["draft"])))
        except Refused as refused:
            shown["error"] = refused.detail
    if request.headers.get("HX-Request"):
        return render(request, "policies/_simulated.html", shown)
    names = {
        "agents": Agent.objects.order_by("name").values_list("name", flat=True),
        "tools": Tool.objects.order_by("name").values_list("name", flat=True),
    }
    return render(request, "policies/simulate.html", {**shown, **names})


def _wish(form: dict[str, str], *, draft: bool) -> SimulateIn:
    """The form as the API's request, checked as strictly."""
    labels = [label.strip() for label in form["labels"].split(",") if label.strip()]
    wish: dict[str, Any] = {"agent": form["agent"], "draft": draft, "session": {"labels": labels}}
    if form["steps"].strip():
        wish["steps"] = _json(form["steps"], "The steps")
    else:
        wish |= {"tool": form["tool"].strip(), "args": _json(form["args"] or "{}", "The arguments")}
        wish |= {"origin": _json(form["origin"] or "{}", "The origins")}
        if form["findings"].strip():
            wish["findings"] = _json(form["findings"], "The findings")
    try:
        return SimulateIn.model_validate(wish)
    except pydantic.ValidationError as error:
        said = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:3]]
        raise Refused("invalid", "; ".join(said)) from None


def _json(text: str, what: str) -> Any:
    try:
        return parse_json(text.encode("utf-8", "surrogatepass"), max_bytes=MAX_FORM)
    except ArgumentsRefused as refused:
        raise Refused("invalid", f"{what}: {refused.detail}") from None
