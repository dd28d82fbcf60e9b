"""The user's own word on pages of reviewers: who is waited for, and what they said."""

from __future__ import annotations

from typing import Any

from django import template

from approvals import word
from approvals.models import Action
from approvals.word_models import USER
from policies.models import User

register = template.Library()


@register.filter
def whose(group: str, action: Action) -> str:
    """A group that is asked, in words: the user's own word by their name."""
    if group != USER:
        return group
    name = "" if word.obstacle(action.session) else action.session.user
    return f"{name or 'the user'}’s own word"


@register.inclusion_tag("approvals/_word.html", takes_context=True)
def own_word(context: dict[str, Any], action: Action) -> dict[str, Any]:
    """That the user's own word is waited for, or why it cannot come, and whatever they have said.

    Whoever reads it under that very name is shown where to give it.
    """
    told: dict[str, Any] = {"action": action, "words": []}
    if not word.asks(action):
        return told
    told["words"] = [(said, word.WAYS[said.channel]) for said in action.words.all()]
    if action.state == Action.State.PENDING:
        told["obstacle"] = word.obstacle(action.session)
        told["waits_for"] = word.asked_of(action)
        told["theirs"] = bool(told["waits_for"]) and _is_served(context.get("user"), action)
        told["alone"] = len(action.approvals) == 1
    return told


def _is_served(reader: object, action: Action) -> bool:
    return isinstance(reader, User) and word.is_served(reader, action.session)


@register.filter
def waits_for_user(action: Action) -> str:
    """Whose own word a row waits for; empty where it waits for nobody's. Reads prefetched words."""
    return word.asked_of(action) if USER in action.groups else ""
