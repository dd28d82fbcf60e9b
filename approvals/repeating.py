"""The same call once more: an agent that lost the answer sends it again, and finds the action it made.

What makes two calls the same is what the agent said: session, tool and arguments. Not what agentsec has made
of it since: the tool may have been declared anew, the arguments edited by a reviewer, the agent paused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from approvals.models import Action, ActionQuerySet
from policies import arguments
from traces.models import Session
from traces.problems import Refused


def known(
    mine: ActionQuerySet, *, session: Session, tool: str, args: Mapping[str, Any], tool_call_id: str,
    idempotency_key: str,
) -> Action | None:  # fmt: skip
    """The action of `mine` that this very call made, if any; the caller holds the agent's lock.

    Raises Refused("conflict") where its key or its id stands for another call.
    """
    asked = (
        (idempotency_key, "idempotency key", {"idempotency_key": idempotency_key}),
        (tool_call_id, "tool call id", {"session": session, "tool_call_id": tool_call_id}),
    )
    for value, name, wanted in asked:
        action = mine.filter(**wanted).first() if value else None
        if action is None:
            continue
        if (action.session_id, action.tool) != (session.pk, tool) or not _says(action, args):
            raise Refused("conflict", f"this {name} was used for another call", action=str(action.pk))
        return action
    return None


def _says(action: Action, args: Mapping[str, Any]) -> bool:
    """Whether these are the arguments that its agent proposed, in normal form."""
    try:
        said = arguments.canonical(arguments.normalise(dict(args))).decode()
    except arguments.ArgumentsRefused:
        return False
    first = action.args_json if action.revision == 1 else action.revisions.get(number=1).args_json
    return said == first
