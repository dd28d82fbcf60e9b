"""What a run gives back, as JSON for the agent and the log; secrets masked on every way out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from approvals.sandbox import Outcome
from policies import firewall


@dataclass(frozen=True)
class Output:
    """`ended` says why it ended; `succeeded` only for exit status 0; `attested` if a host application
    reports it.
    """

    succeeded: bool
    ended: str
    result: dict[str, Any] = field(default_factory=dict)
    tier: str = ""
    error: str = ""
    attested: bool = False


def of_outcome(outcome: Outcome) -> Output:
    succeeded = outcome.ended == "exited" and outcome.status == 0
    result = {
        "exit_status": outcome.status, "signal": outcome.signal, "ended": outcome.ended,
        "stdout": outcome.stdout,
        "stderr": outcome.stderr, "stdout_truncated": outcome.stdout_truncated,
        "stderr_truncated": outcome.stderr_truncated, "usage": asdict(outcome.usage), "tier": outcome.tier,
        "refused_artifacts": [{"name": name, "why": why} for name, why in outcome.refused_artifacts],
    }  # fmt: skip
    return Output(succeeded, outcome.ended, result, outcome.tier, "" if succeeded else _why(outcome))


def failure(why: str) -> Output:
    """It never ran, or agentsec failed: said plainly, never taken for a result."""
    return Output(False, "not started", {"error": why}, error=why)


def _why(outcome: Outcome) -> str:
    if outcome.ended == "exited":
        return f"exit status {outcome.status}"
    if outcome.ended == "signalled":
        return f"killed by signal {outcome.signal}"
    limits = {
        "wall": "it ran too long",
        "cpu": "it used too much CPU time",
        "memory": "it used too much memory",
    }
    return limits.get(outcome.ended, f"stopped: {outcome.ended}")


def masked(text: str) -> str:
    """The text as it may be stored and shown; one that cannot be inspected is withheld."""
    if not text:
        return ""
    inspection = firewall.inspect(text, direction="output", source="tool")
    return "[withheld by the firewall]" if inspection.verdict == "block" else inspection.text
