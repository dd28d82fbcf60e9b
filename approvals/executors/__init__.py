"""Executors: from arguments and a tool's definition to a sandbox job. One file each, one line here."""

from __future__ import annotations

from approvals.executors import python, shell
from approvals.executors.base import Executor, NotRunnable

EXECUTORS: dict[str, Executor] = {
    "python": python.job,
    "shell": shell.job,
}

__all__ = ["EXECUTORS", "Executor", "NotRunnable"]
