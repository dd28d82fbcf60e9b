"""How people decided like calls before, for the card of an action."""

from __future__ import annotations

from typing import Any

from django import template

from approvals import alike, suggest
from approvals.models import Action

register = template.Library()


@register.inclusion_tag("growth/_alike.html", takes_context=True)
def decisions_like(context: dict[str, Any], action: Action) -> dict[str, Any]:
    """The counts, and the suggestion that rests on them for who may read policies."""
    return {"told": alike.told(action), "offered": suggest.offered_for(action, user=context.get("user"))}
