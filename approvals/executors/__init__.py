"""Executors: what runs a started call. One file each, one line here."""

from __future__ import annotations

from approvals.executors import http, python, shell, sql
from approvals.executors.base import Executor, NotRunnable, Running
from approvals.executors.sandboxed import sandboxed

EXECUTORS: dict[str, Executor] = {
    "http": http.execute,
    "python": sandboxed(python.job),
    "shell": sandboxed(shell.job),
    "sql": sql.execute,
}

__all__ = ["EXECUTORS", "Executor", "NotRunnable", "Running"]
