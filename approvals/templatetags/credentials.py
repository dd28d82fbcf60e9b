"""What every page says of grants that nobody can take back, to who may end them."""

from __future__ import annotations

from typing import Any

from django import template

from approvals import concerns
from policies.access import Verb, may

register = template.Library()


@register.inclusion_tag("credentials/_stuck.html")
def stuck_grants(user: Any) -> dict[str, Any]:
    """A line for each, three at most; nothing for who could do nothing about it."""
    if not may(user, Verb.GRANTS_END).allowed:
        return {"grants": []}
    found = list(concerns.stuck()[:4])
    return {"grants": found[:3], "more": len(found) > 3, "sees": may(user, Verb.ACCOUNTS_READ).allowed}
