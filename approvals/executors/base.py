"""What executors share: what they have of a start, limits from the tool's definition, input files."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from approvals.models import Action, Execution
from approvals.outputs import Output
from approvals.sandbox import Limits, Watched
from policies.arguments import canonical
from policies.models import Grant
from policies.tooling import ToolDef

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\- ]{0,99}")
ARGUMENTS = "args.json"


class NotRunnable(RuntimeError):
    """The call cannot be run as asked; the message says what is wrong with it."""


@dataclass(frozen=True)
class Running:
    """One start as its executor has it.

    `content` gives a file's bytes by its SHA-256; `tell` shows text of "stdout" or "stderr", and
    `noticed` what it did so far, while it runs;
    `stop` is set when the work must end; `last_look` raises Refused if it may not begin any more, and is
    called with the job's process id (0 where there is none) just before the first effect.
    """

    action: Action
    tool: ToolDef
    execution: Execution
    grant: Grant
    content: Callable[[str], bytes]
    tell: Callable[[str, str], None]
    noticed: Callable[[Watched], None]
    stop: threading.Event
    last_look: Callable[[int], None]


# Raises NotRunnable, Refused, SandboxUnavailable or ValueError for what cannot run; the output says so.
Executor = Callable[[Running], Output]


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
