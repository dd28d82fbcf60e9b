"""What rules in shadow would have done, for the admin's pages of rules."""

from __future__ import annotations

from typing import Any

from django import template

from approvals import shadow

register = template.Library()


@register.inclusion_tag("policies/_shadow_panel.html")
def shadow_panel(rule: Any = None) -> dict[str, Any]:
    """The counts of one rule, or of all; nothing where none applied in shadow."""
    found = shadow.counts()
    chosen = [item for item in found if rule is None or item.name == rule.name]
    return {"rules": chosen, "days": shadow.DAYS, "of_one": rule is not None}
