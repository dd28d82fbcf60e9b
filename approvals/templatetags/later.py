"""When an action runs that has been put off until later."""

from __future__ import annotations

from typing import Any

from django import template

from approvals import later
from approvals.models import Action

register = template.Library()


@register.inclusion_tag("approvals/_later.html")
def runs_later(action: Action) -> dict[str, Any]:
    """When it runs, if that is not now, and until when its approval holds."""
    return {"plan": later.plan(action)}


@register.inclusion_tag("approvals/_later_row.html")
def runs_at(action: Action) -> dict[str, Any]:
    """When it runs, in a row; asks the database nothing."""
    return {"at": later.planned_at(action)}
