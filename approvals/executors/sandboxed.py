"""Executors whose work is one job in the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from approvals import outputs, sandbox
from approvals.egress import wayout
from approvals.egress.gate import RunGate
from approvals.executors.base import Executor, Running
from approvals.outputs import Output
from approvals.sandbox import Job
from policies import secrets
from policies.tooling import ToolDef

# A call's arguments, its tool, and what gives a file's content; raises NotRunnable.
MakeJob = Callable[[Mapping[str, Any], ToolDef, Callable[[str], bytes]], Job]


def sandboxed(make: MakeJob) -> Executor:
    """The executor that runs what `make` makes of a call."""

    def execute(running: Running) -> Output:
        job = make(running.action.args, running.tool, running.content)
        with (
            RunGate(running.execution, running.grant) as gate,
            wayout.opened(job, gate=gate, read=secrets.read) as out,
        ):
            outcome = sandbox.run(
                out.job, on_output=running.tell, stop=running.stop, on_start=running.last_look,
                on_watched=running.noticed, on_network=out.serve,
            )  # fmt: skip
        output = outputs.of_outcome(outcome)
        return (
            replace(output, result=output.result | {"network": wayout.summary(gate)})
            if job.egress
            else output
        )

    return execute
