"""Who has taken an action, who looks at it, what was asked and handed on: for its row, panel and card."""

from __future__ import annotations

from typing import Any, cast

from django import template

from approvals import claims, delegating, questions, rejecting
from approvals.models import Action
from approvals.presenters import Panel
from policies.models import User

register = template.Library()


@register.simple_tag
def claimed_by(action: Action) -> str:
    """The name of who has taken it; empty where nobody has."""
    claim = claims.of(action)
    return claim.by if claim is not None else ""


@register.inclusion_tag("collab/_together.html", takes_context=True)
def together(context: dict[str, Any], panel: Panel) -> dict[str, Any]:
    """Above the buttons: the claim, who looks along, what was handed on, the advice of a rejection."""
    action = panel.action
    asked = questions.of(action)
    return {
        "action": action, "me": _me(context), "claim": claims.of(action),
        "delegated": delegating.told(action) if action.state == Action.State.PENDING else (),
        "talk": questions.counted(action),
        "unanswered": [each for each in asked if each.answered_at is None],
    }  # fmt: skip


@register.inclusion_tag("collab/_ways.html", takes_context=True)
def ways(context: dict[str, Any], panel: Panel) -> dict[str, Any]:
    """Below the buttons: claim, ask, hand on, each with its form."""
    action, user = panel.action, cast(User, context["user"])
    return {
        "action": action, "me": _me(context), "claim": claims.of(action),
        "left": questions.MOST - len(questions.of(action)), "own": delegating.own_groups(action, user),
        "targets": delegating.targets(action, user), "draft": context.get("draft"),
    }  # fmt: skip


@register.inclusion_tag("collab/_reasons.html", takes_context=True)
def ready_reasons(context: dict[str, Any]) -> dict[str, Any]:
    """In the form of a rejection: reasons to choose from, and room for advice."""
    draft = context.get("draft")
    return {"reasons": rejecting.REASONS, "draft": draft if draft and draft.form == "reject" else None}


@register.inclusion_tag("collab/_talk.html")
def talk(action: Action) -> dict[str, Any]:
    """On the card: what reviewers asked, and the agent's answers."""
    return {"action": action, "questions": questions.of(action), "talk": questions.counted(action)}


def _me(context: dict[str, Any]) -> str:
    user = context.get("user")
    return user.get_username() if user is not None else ""
