"""What a run gives back, as JSON for the agent and the log; secrets masked on every way out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from approvals.sandbox import Artifact, Outcome, Watched
from policies import firewall
from policies.firewall import known

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
    stdout = _whole(outcome.stdout, cut=outcome.stdout_truncated)
    stderr = _whole(outcome.stderr, cut=outcome.stderr_truncated)
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


def without_secrets(artifacts: Iterable[Artifact]) -> tuple[Artifact, ...]:
    """Artifacts as they may be kept: the values of stored secrets masked in names and content.

    Raises Refused("unavailable") where the values cannot be read: then nothing is kept.
    """
    values = known.current()
    return tuple(_clean(item, values) for item in artifacts)


def _clean(item: Artifact, values: known.Known) -> Artifact:
    name, content = values.masked(item.name), values.masked_bytes(item.content)
    if (name, content) == (item.name, item.content):
        return item
    return replace(item, name=name, content=content, sha256=hashlib.sha256(content).hexdigest())


def _whole(stream: str, *, cut: bool) -> str:
    """A stream as far as it is kept. Half of a value is not recognised, so where a stream was cut, what may
    be one goes too: the end of its last line, as far as a value could reach.
    """
    kept = stream[:MAX_STREAM]
    if not cut and len(stream) == len(kept):
        return stream
    reach = known.current().longest
    return kept[: max(kept.rfind("\n") + 1, len(kept) - reach, 0)]
