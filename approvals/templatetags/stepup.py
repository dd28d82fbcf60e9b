"""The part of an approval's form that has it signed by a passkey."""

from __future__ import annotations

from typing import Any

from django import template

from approvals import signing
from approvals.models import Action
from policies.models import User

register = template.Library()


@register.inclusion_tag("approvals/_stepup.html", takes_context=True)
def step_up(context: dict[str, Any], action: Action, edit: bool = False) -> dict[str, Any]:
    """Where a rule wants this person's approval signed: the field for the signature, or what is missing.

    An edit always has the field, since only the edited call says whether it takes a signature.
    """
    user = context.get("user")
    wish = signing.demand(action, user) if isinstance(user, User) else signing.Demand()
    return {"action": action, "wish": wish, "edit": edit}
