"""What waits in the rooms of policy, for the admin's first page."""

from __future__ import annotations

from typing import Any

from django import template

from approvals import access_review
from approvals.growth_models import Promotion, Suggestion
from policies.access import Verb, may

register = template.Library()


@register.inclusion_tag("growth/_waiting.html", takes_context=True)
def policy_rooms(context: dict[str, Any]) -> dict[str, Any]:
    """Links to what this person may read, with what waits there."""
    user = context["request"].user
    reviews = may(user, Verb.ACCOUNTS_READ).allowed
    return {
        "may_read": may(user, Verb.POLICY_READ).allowed,
        "offered": Suggestion.objects.filter(state=Suggestion.State.OFFERED).count(),
        "proposed": Promotion.objects.filter(state=Promotion.State.OPEN).count(),
        "reviews": reviews, "due": access_review.due() if reviews else None,
    }  # fmt: skip
