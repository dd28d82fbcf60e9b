"""What an agent is told of its action; the same body at every door."""

from __future__ import annotations

from typing import Any

from approvals import holding, later, questions, receipts, word
from approvals.handout import Handout
from approvals.holding import Holds
from approvals.models import Action

FINAL = ("blocked", "succeeded", "failed", "interrupted", "rejected", "expired", "cancelled")


def answer(action: Action, *, handout: Handout | None = None, holds: Holds | None = None) -> dict[str, Any]:
    """The action as JSON: id, revision, state, arguments as they stand now, digest, verdict, what came of
    it. `holds` where many are answered at once.
    """
    verdict = action.verdict
    told: dict[str, Any] = {
        "id": str(action.pk),
        "session": str(action.session_id),
        "tool": action.tool,
        "revision": action.revision,
        "state": action.state,
        "args": action.args,
        "digest": action.digest,
        "summary": action.summary,
        "verdict": {
            "effect": verdict["effect"],
            "reasons": verdict["reasons"],
            "rules": [match["name"] for match in verdict["matched"]],
            "release": verdict["release"],
            **({"egress": verdict["egress"]} if "egress" in verdict else {}),
        },
        "created_at": action.created_at.isoformat(),
        "poll": f"/api/v1/actions/{action.pk}",
        "advisory": action.runs == "agent" and not receipts.audience(action),
    }
    if action.state in (Action.State.PENDING, Action.State.READY):
        told["expires_at"] = action.deadline.isoformat()
        told["approvals"] = [{"group": item["group"], "quorum": item["quorum"]} for item in action.approvals]
        if planned := later.plan(action):
            told["planned"] = planned.to_json()
        if why := holds.of(action) if holds else holding.held(action):
            told["held"] = why
        if said := word.note(action):
            told["confirmation"] = said
    if action.decision_reason:
        told["decision"] = {"reason": action.decision_reason}
    if action.state in (Action.State.REJECTED, Action.State.EXPIRED):
        told["rejection"] = {"reason": action.decision_reason, "advice": action.advice}
    if asked := questions.described(action):
        told["questions"] = asked
    if action.result_json:
        told["result"] = action.result
    if action.error:
        told["error"] = action.error
    if handout is not None:
        told["grant"] = handout.to_json()
    return told


def is_final(action: Action) -> bool:
    """Whether polling again can bring nothing new, apart from what people do to an interrupted action."""
    return action.state in FINAL
