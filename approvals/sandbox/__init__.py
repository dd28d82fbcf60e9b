"""The execution sandbox: ``run(Job) → Outcome``.

One file a backend, one registry. A backend either enforces all that a Job asks, or raises SandboxUnavailable.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from approvals.sandbox.backend import BubblewrapBackend
from approvals.sandbox.job import (
    Artifact,
    Ending,
    Job,
    KiB,
    Limits,
    MiB,
    Outcome,
    SandboxUnavailable,
    Status,
    Usage,
)
from approvals.sandbox.pool import Pool
from approvals.sandbox.supervise import Hooks

__all__ = [
    "Artifact",
    "Ending",
    "Job",
    "KiB",
    "Limits",
    "MiB",
    "Outcome",
    "SandboxUnavailable",
    "Status",
    "Usage",
    "run",
    "status",
    "warm",
]

BACKENDS = {"bubblewrap": BubblewrapBackend()}
_DEFAULT = "bubblewrap"


def run(
    job: Job,
    *,
    on_output: Callable[[str, str], None] | None = None,
    stop: threading.Event | None = None,
    on_start: Callable[[int], None] | None = None,
    on_network: Callable[[int], None] | None = None,
) -> Outcome:
    """Run ``job`` isolated and limited; return how it ended. Blocks until nothing of it is left.

    ``on_output`` gets ("stdout" | "stderr", escaped text) while the job runs; ``stop``, once set, ends it;
    ``on_start`` gets the host's process id of the job just before its program starts; ``on_network``, which a
    job with ``egress`` needs, gets and owns a listening descriptor on 127.0.0.1:3128 in the job's network.
    Their exceptions end the job and propagate. Raises SandboxUnavailable when the job cannot be confined
    here, and ValueError or OSError for an input file that cannot be read.
    """
    hooks = Hooks(on_output=on_output, stop=stop, on_start=on_start, on_network=on_network)
    return BACKENDS[_DEFAULT].run(job, hooks=hooks)


def warm(size: int) -> AbstractContextManager[Pool | None]:
    """Keep ``size`` sandboxes started ahead while the block lasts, each for one job of this process; 0: none.

    Gives the pool. Ends only after the jobs that run in its sandboxes. Where no sandbox can be started none
    is kept, and ``run`` says why.
    """
    return BACKENDS[_DEFAULT].warm(size)


def status() -> Status:
    """Whether jobs can run here, proved by running one; a success is remembered."""
    return BACKENDS[_DEFAULT].status()
