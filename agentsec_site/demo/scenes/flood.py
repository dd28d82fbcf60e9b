"""Flood: one agent runs into its limit and is told when to come back; another does not notice."""

from __future__ import annotations

from typing import Any

from agentsec_site.demo.client import Problem
from agentsec_site.demo.stage import Stage


def play(stage: Stage) -> dict[str, Any]:
    flooder, other = stage.agent("flood-bot"), stage.agent("mail-bot")
    session = flooder.open_session(purpose="Too much")
    accepted, refused, retry_after = 0, 0, ""
    for number in range(30):
        try:
            flooder.propose(session, "notes.read", {"id": number})
            accepted += 1
        except Problem as problem:
            if problem.status != 429:
                raise
            refused, retry_after = refused + 1, problem.retry_after or ""
    calm = other.propose(other.open_session(purpose="Meanwhile"), "notes.read", {"id": 1})
    return {
        "session": session,
        "accepted": accepted,
        "refused": refused,
        "retry_after": retry_after,
        "other": calm["state"],
    }
