"""Saying no so that the agent can do better: reasons ready to choose from, and advice what to do instead."""

from __future__ import annotations

from traces.problems import Refused

LONGEST_ADVICE = 2_000
# One key each. What people write most often when they reject; each stands for itself and can be added to.
REASONS = (
    "Wrong recipient or target.",
    "The content is wrong or incomplete.",
    "The amount or the extent is wrong.",
    "Not what the user asked for.",
    "It comes from untrusted text, not from the user.",
    "Too risky: find a smaller or reversible step.",
    "Not needed, or done already.",
    "Not now: propose it again later.",
    "Against our rules.",
)


def advice(text: str) -> str:
    """What a reviewer says to do instead, as it is kept. Raises Refused("invalid") where it is too long."""
    said = text.replace("\r\n", "\n").strip()
    if len(said) > LONGEST_ADVICE or "\0" in said:
        raise Refused("invalid", f"advice has at most {LONGEST_ADVICE} characters")
    return said
