"""What a session was opened for: the tools that it names, and what of that anybody may rely on. Pure.

A key without `attest` speaks for the model, so what it names counts only where it takes something away: its
session may use less than it says, never more. Where a session is opened below one that names its tools, it
may only name some of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import re2

from traces.problems import Refused

MAX_TOOLS = 100
_WRITTEN = re.compile(r"[A-Za-z0-9_*?][A-Za-z0-9_.@:/+*?-]{0,99}")


def covers(opened_for: Sequence[str], tool: str, *, declared: bool) -> bool:
    """Whether a session that names these tools (names, patterns with * and ?) was opened for this one.

    Naming none is opening it for any. Nobody knows what an undeclared tool does, so a pattern that happens
    to fit does not cover it.
    """
    if not opened_for or tool in opened_for:
        return True
    return declared and any(_pattern(glob).fullmatch(tool) for glob in opened_for)


def facts(*, purpose: str, tools: Sequence[str], attested: bool, tool: str, declared: bool) -> dict[str, Any]:
    """The facts of a session that say what it was opened for, when this tool is called in it.

    What only the agent said of it is no fact: it narrows what the session covers, and nothing else.
    """
    return {
        "purpose": purpose if attested else "",
        "tools": tuple(tools) if attested else (),
        "covers": covers(tools, tool, declared=declared),
    }


def needed(tools: Iterable[str] | None) -> tuple[str, ...]:
    """The tools as they are kept: each once, in order. Raises Refused("invalid") for what names no tool."""
    if tools is None:
        return ()
    named = tuple(dict.fromkeys(tools))
    if not 1 <= len(named) <= MAX_TOOLS:
        raise Refused("invalid", f"tools names 1 to {MAX_TOOLS} tools, or is left out for any.")
    for name in named:
        if not _WRITTEN.fullmatch(name):
            raise Refused("invalid", f"tools: {name[:80]!r} is neither a tool's name nor a pattern of names.")
    return named


def narrowed(above: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """The tools of a session below one that names `above`: `wanted`, or the same where it names none.

    Raises Refused("forbidden") for one that the session above does not cover.
    """
    if not above or not wanted:
        return tuple(wanted or above)
    beyond = [name for name in wanted if not any(_within(name, glob) for glob in above)]
    if beyond:
        told = ", ".join(beyond)
        raise Refused("forbidden", f"The parent session was opened for other tools than {told}.")
    return tuple(wanted)


def _within(name: str, glob: str) -> bool:
    """Whether all that `name`, itself perhaps a pattern, fits is also fitted by `glob`."""
    # A * of the glob takes any signs, wildcards included; a ? takes one sign or a ?, which stands for one.
    return _pattern(glob, one="[^*]").fullmatch(name) is not None


@lru_cache(maxsize=1024)
def _pattern(glob: str, *, one: str = ".") -> Any:
    """In linear time whatever an agent writes."""
    return re2.compile("".join({"*": ".*", "?": one}.get(sign) or re2.escape(sign) for sign in glob))
