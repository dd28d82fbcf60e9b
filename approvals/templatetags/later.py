"""When an action runs that has been put off until later."""

from __future__ import annotations

from typing import Any

from django import template

from approvals import later
from approvals.models import Action

register = template.Library()


@register.inclusion_tag("approvals/_later.html")
def runs_later(action: Action, short: bool = False) -> dict[str, Any]:
    """When it runs, if that is not now; in full also until when its approval holds."""
    return {"plan": later.plan(action), "short": short}
