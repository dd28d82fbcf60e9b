"""What a run gives back, as JSON for the agent and the log; secrets masked on every way out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from approvals.sandbox import Artifact, Outcome, Watched
from policies import firewall

MAX_STREAM = 1 << 20
WITHHELD = "[withheld by the firewall]"


@dataclass(frozen=True)
class Output:
    """`ended` says why it ended; `succeeded` only for exit status 0 (or its like); `attested` if a host
    application reports it. `exit_status`, `interpreter`, `artifacts` and `watched` are those of a job in
    the sandbox.
    """

    succeeded: bool
    ended: str
    result: dict[str, Any] = field(default_factory=dict)
    tier: str = ""
    error: str = ""
    attested: bool = False
    exit_status: int | None = None
    interpreter: str = ""
    artifacts: tuple[Artifact, ...] = ()
    watched: Watched | None = None


def of_outcome(outcome: Outcome) -> Output:
    succeeded = outcome.ended == "exited" and outcome.status == 0
    # Escaping makes control characters four times as long, and all of it is inspected.
    stdout, stderr = outcome.stdout[:MAX_STREAM], outcome.stderr[:MAX_STREAM]
    result = {
        "exit_status": outcome.status, "signal": outcome.signal, "ended": outcome.ended,
        "stdout": stdout, "stderr": stderr,
        "stdout_truncated": outcome.stdout_truncated or len(outcome.stdout) > len(stdout),
        "stderr_truncated": outcome.stderr_truncated or len(outcome.stderr) > len(stderr),
        "usage": asdict(outcome.usage), "tier": outcome.tier,
        "refused_artifacts": [{"name": name, "why": why} for name, why in outcome.refused_artifacts],
    }  # fmt: skip
    return Output(
        succeeded, outcome.ended, result, outcome.tier, "" if succeeded else _why(outcome),
        exit_status=outcome.status, interpreter=outcome.interpreter, artifacts=outcome.artifacts,
        watched=outcome.watched,
    )  # fmt: skip


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
    return WITHHELD if inspection.verdict == "block" else inspection.text
