"""Saying no so that the agent can do better: reasons ready to choose from, and advice what to do instead."""

from __future__ import annotations

from dataclasses import dataclass

from approvals.reviewing import LONGEST_COMMENT, worded

LONGEST_ADVICE = 2_000
NO_REASON = "say why in the comment: the reason goes to the agent"


@dataclass(frozen=True)
class Reason:
    """A reason ready to choose: `label` on its button, `text` for the record and the agent."""

    label: str
    text: str


# One key each. What people write most often when they reject; each stands for itself and can be added to.
REASONS = (
    Reason("Wrong target", "Wrong recipient or target."),
    Reason("Wrong content", "The content is wrong or incomplete."),
    Reason("Wrong amount", "The amount or the extent is wrong."),
    Reason("Not asked for", "This is not what the user asked for."),
    Reason("Untrusted", "This comes from untrusted text and not from the user."),
    Reason("Too risky", "Too risky: find a smaller or a reversible step."),
    Reason("Not needed", "Not needed, or done already."),
    Reason("Not now", "Not now: propose it again later."),
    Reason("Against our rules", "This is against our rules."),
)


def comment(text: str) -> str:
    """Why it is rejected, as it is kept. Raises Refused("invalid") as worded, and where nothing is said: an
    agent that is not told why proposes the same again.
    """
    return worded(text, longest=LONGEST_COMMENT, empty=NO_REASON, field="comment")


def advice(text: str) -> str:
    """What a reviewer says to do instead, as it is kept. Raises Refused("invalid") where it is too long."""
    return worded(text, longest=LONGEST_ADVICE, field="advice")
