"""The button that ends an action, on its card."""

from __future__ import annotations

from typing import Any

from django import template

from approvals.models import Action, Execution
from approvals.presenters import Panel
from policies.access import Verb, may

register = template.Library()
S = Action.State


@register.inclusion_tag("approvals/_stop.html", takes_context=True)
def stop_button(context: dict[str, Any], panel: Panel) -> dict[str, Any]:
    """What this reader may end: a running action, or one that is ready; `stopping` says that it is told."""
    action, user = panel.action, context.get("user")
    told: dict[str, Any] = {"action": action, "csrf_token": context.get("csrf_token"), "offered": False}
    if action.state not in (S.READY, S.RUNNING):
        return told
    running = action.state == S.RUNNING
    asked = Execution.objects.filter(action=action, ended_at=None).exclude(stop_requested="").first()
    told["stopping"] = asked.stop_requested if running and asked else ""
    access = may(user, Verb.ACTION_STOP, team=action.team, groups=action.groups) if user else None
    told["offered"] = access is not None and access.allowed and not told["stopping"]
    told["running"], told["advisory"] = running, action.runs == "agent"
    return told
