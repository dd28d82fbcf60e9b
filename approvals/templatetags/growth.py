"""The rooms of policy with what waits in them, for the admin's first page."""

from __future__ import annotations

from typing import Any

from django import template

from approvals import hub

register = template.Library()


@register.inclusion_tag("policies/_hub.html", takes_context=True)
def policy_rooms(context: dict[str, Any]) -> dict[str, Any]:
    """Links to what this person may enter, with what waits there."""
    models = [model for app in context["app_list"] for model in app["models"]]
    adding = {model["model"]._meta.label_lower for model in models if model.get("add_url")}
    return {"sections": hub.sections(context["request"].user, adds=adding.__contains__)}
