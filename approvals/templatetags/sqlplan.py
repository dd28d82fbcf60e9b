"""On the card of a statement: what it runs under, and what the database said that it would do."""

from __future__ import annotations

from typing import Any

from django import template

from approvals.models import Action
from approvals.sql.showing import shown

register = template.Library()


@register.inclusion_tag("approvals/_plan.html")
def sql_plan(action: Action) -> dict[str, Any]:
    return {"action": action, "shown": shown(action)}
