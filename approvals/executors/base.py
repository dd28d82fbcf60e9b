"""What executors share: limits from the tool's definition, input files from the arguments."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from approvals.sandbox import Job, Limits
from policies.arguments import canonical
from policies.tooling import ToolDef

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\- ]{0,99}")
ARGUMENTS = "args.json"

Executor = Callable[[Mapping[str, Any], ToolDef, Callable[[str], bytes]], Job]


class NotRunnable(RuntimeError):
    """The call cannot be turned into a job; the message says what is wrong with it."""


def limits(tool: ToolDef) -> Limits:
    """The sandbox's limits, each of which the tool's definition may set by name."""
    given = tool.config.get("limits") or {}
    known = {field.name for field in fields(Limits)}
    if unknown := sorted(set(given) - known):
        raise NotRunnable(f"{tool.name} sets an unknown limit: {unknown[0]}")
    return Limits(**given)


def input_files(args: Mapping[str, Any], content: Callable[[str], bytes]) -> dict[str, bytes]:
    """Each file that the arguments name, under the name of its key, and the arguments themselves."""
    found = {ARGUMENTS: canonical(args)}
    for name, sha256 in _references(args, ""):
        if not NAME.fullmatch(name) or name in found:
            raise NotRunnable(f"a file cannot be called “{name}” here, or two files share the name")
        found[name] = content(sha256)
    return found


def _references(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        if "$file" in value:
            yield name, value["$file"]
            return
        for key, item in value.items():
            yield from _references(item, key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _references(item, f"{name}-{index}")
