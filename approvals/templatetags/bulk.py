"""Choosing many in the inbox: the tick of a row, the bar of what is chosen, the stamp of a card."""

from __future__ import annotations

from typing import Any

from django import template

from approvals import bulk, typed, vigilance
from approvals.models import Action
from approvals.presenters import Row
from approvals.word_models import USER
from policies.models import Role, User
from traces.presenters import visible

LABEL = 80

register = template.Library()


@register.inclusion_tag("approvals/_tick.html")
def bulk_tick(row: Row) -> dict[str, Any]:
    """A tick for what waits for reviewers: what it is like, and why it is approved only by itself."""
    action = row.action
    if action.state != Action.State.PENDING or not set(action.groups) - {USER}:
        return {"waits": False}
    label = f"Select {action.tool}: {action.target[:LABEL]}"
    return {
        "action": action, "waits": True, "label": visible(label),
        "alike": bulk.sameness(action), "alone": bulk.barred(action, row.risk),
    }  # fmt: skip


@register.inclusion_tag("approvals/_bulk_bar.html", takes_context=True)
def bulk_bar(context: dict[str, Any]) -> dict[str, Any]:
    """The bar and its dialog, for who decides, where it is listed what waits."""
    return {"offered": bulk_offered(context), "most": bulk.MOST}


@register.simple_tag(takes_context=True)
def bulk_offered(context: dict[str, Any]) -> bool:
    """Whether rows can be ticked here."""
    user = context.get("user")
    decides = isinstance(user, User) and user.has_role(Role.APPROVER)
    return decides and context["listing"].wish.show == "waiting"


@register.filter
def to_confirm(action: Action) -> str:
    """What to type to confirm a destructive action."""
    return typed.words(action)


@register.simple_tag(takes_context=True)
def served(context: dict[str, Any], action: Action) -> str:
    """A signed note of when this card was served to this person."""
    user = context.get("user")
    return vigilance.stamp(user, vigilance.about(action)) if isinstance(user, User) else ""
