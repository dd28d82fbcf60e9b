"""Who else is asked, for the card of an action; and rules that ask people who cannot answer."""

from __future__ import annotations

from typing import Any

from django import template

from approvals import whoelse
from approvals.presenters import Panel
from policies import absences, approvers
from policies.models import User

register = template.Library()


@register.inclusion_tag("approvals/_who_else.html", takes_context=True)
def who_else(context: dict[str, Any], panel: Panel) -> dict[str, Any]:
    """Escalations, stand-ins, separate duties and missing people, as the reader of this page should know."""
    user = context.get("user")
    told = whoelse.of(panel.action, user if isinstance(user, User) else None)
    return {"told": told, "moved": whoelse.moved(panel.action)}


@register.inclusion_tag("policies/_unanswerable.html")
def unanswerable_rules() -> dict[str, Any]:
    """Rules of the draft that ask people who cannot answer."""
    return {"found": approvers.unanswerable()}


@register.inclusion_tag("people/_away_banner.html", takes_context=True)
def away_banner(context: dict[str, Any]) -> dict[str, Any]:
    """That the reader is away, or stands in for somebody; nothing where neither is so."""
    user = context.get("user")
    if not isinstance(user, User):
        return {}
    mine = absences.of(user)
    others = {row.user_id: row for rows in user.covers.values() for row in rows}
    return {
        "mine": mine if absences.lasting(mine) else None, "others": list(others.values()),
        "csrf_token": context.get("csrf_token"),
    }  # fmt: skip
