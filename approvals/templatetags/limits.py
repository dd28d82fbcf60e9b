"""An agent's limits with their use, for its page in the admin."""

from __future__ import annotations

from typing import Any

from django import template

from approvals import limit_usage
from policies.models import Agent

register = template.Library()


@register.inclusion_tag("policies/_limits.html")
def limits_of(agent: Agent) -> dict[str, Any]:
    """The agent's own limits and the shared ones that its calls come under."""
    return {
        "agent": agent,
        "agents": limit_usage.of_agents([agent.name]),
        "shared": limit_usage.shared(agent),
    }
