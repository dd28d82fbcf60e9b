"""Whether a call that the agent runs itself is mere advice, on its card."""

from __future__ import annotations

from typing import Any

from django import template

from approvals import receipts
from approvals.models import Action

register = template.Library()


@register.inclusion_tag("approvals/_advice.html")
def advice(action: Action) -> dict[str, Any]:
    """The badge of a call that its agent runs."""
    return {"audience": receipts.audience(action)}
