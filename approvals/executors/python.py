"""`runs: python`: a script that the tool's definition fixes, or the one in the argument `code`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from approvals.executors.base import NotRunnable, input_files, limits
from approvals.sandbox import Job
from policies.tooling import ToolDef


def job(args: Mapping[str, Any], tool: ToolDef, content: Callable[[str], bytes]) -> Job:
    """The job of a call; the arguments lie at /in/args.json. Raises NotRunnable."""
    source = tool.config.get("code") or args.get("code")
    if not isinstance(source, str) or not source.strip():
        raise NotRunnable(f"{tool.name} was given no source: the argument `code` holds it")
    return Job(
        source=source, files=input_files(args, content), limits=limits(tool),
        egress=tuple(tool.config.get("egress", ())), secrets=tuple(tool.config.get("secrets", ())),
    )  # fmt: skip
