"""`runs: shell`: an argument vector, from the tool's definition or the argument `argv`; no shell is involved.

In a vector that the definition fixes, an item `{name}` is replaced by that argument as one whole item, so no
value can add an item or an option of its own beyond its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from approvals.executors.base import NotRunnable, input_files, limits
from approvals.sandbox import Job
from policies.arguments import canonical
from policies.tooling import ToolDef

PLACEHOLDER = re.compile(r"\{([A-Za-z0-9_]+)\}")


def job(args: Mapping[str, Any], tool: ToolDef, content: Callable[[str], bytes]) -> Job:
    """The job of a call. Raises NotRunnable."""
    template = tool.config.get("argv")
    vector = [filled(item, args) for item in template] if template else args.get("argv")
    if not isinstance(vector, list) or not vector or not all(isinstance(item, str) for item in vector):
        raise NotRunnable(f"{tool.name} was given no command: the argument `argv` is a list of texts")
    return Job(
        argv=tuple(vector), files=input_files(args, content), limits=limits(tool),
        egress=tuple(tool.config.get("egress", ())), secrets=tuple(tool.config.get("secrets", ())),
    )  # fmt: skip


def filled(item: str, args: Mapping[str, Any]) -> str:
    """One item of a fixed vector with its placeholders replaced. Raises NotRunnable where one is missing."""
    return PLACEHOLDER.sub(lambda found: _value(found.group(1), args), item)


def _value(name: str, args: Mapping[str, Any]) -> str:
    if name not in args:
        raise NotRunnable(f"the command needs the argument `{name}`")
    value = args[name]
    return value if isinstance(value, str) else canonical(value).decode()
