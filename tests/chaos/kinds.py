"""The kinds of calls that are proposed: a tool, arguments, what the agent does with a grant, what counts.

A new kind is one more entry of KINDS.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.chaos.opens import Opens

Answer = Mapping[str, Any]


@dataclass
class World:
    """What calls have an effect on, outside of agentsec; `grants` are those that an agent acted under."""

    opens: Opens
    connect: Callable[[Answer], str]
    grants: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def act(self, action: str, grant: str) -> None:
        with self.lock:
            self.grants[action].add(grant)


@dataclass(frozen=True)
class Kind:
    """`args` makes the arguments that leave `mark` behind; `act` is what the agent does once it holds a
    grant, and gives what it reports; `starts` counts the starts of an action, by its id and mark.
    """

    tool: Mapping[str, Any]
    args: Callable[[str], dict[str, Any]]
    act: Callable[[World, Answer], Any] | None = None

    @property
    def name(self) -> str:
        return str(self.tool["name"])

    @property
    def idempotent(self) -> bool:
        return bool(self.tool.get("idempotent", False))

    def starts(self, world: World, action: str, mark: str) -> int:
        return world.opens.count(mark) if self.act is None else len(world.grants[action])


def _tool(name: str, runs: str, **more: Any) -> dict[str, Any]:
    properties = {key: {"type": kind} for key, kind in more.pop("parameters").items()}
    properties["ask"] = {"type": "boolean"}
    return {
        "name": f"chaos.{name}", "runs": runs, "effect": "write", "output": "trusted", "sends": "none",
        "authority": [], "summary": f"Chaos: {name}",
        "parameters": {"type": "object", "properties": properties}, **more,
    }  # fmt: skip


def _script(mark: str) -> dict[str, Any]:
    return {"code": f"import time\nopen({mark!r}).close()\nprint('began', flush=True)\ntime.sleep(0.3)\n"}


def _note(world: World, answer: Answer) -> Any:
    world.act(str(answer["id"]), str(answer["grant"]["id"]))
    return "noted"


def _role(world: World, answer: Answer) -> Any:
    """Read through the role; without its password, whose answer was lost, it can only report."""
    told = answer["grant"].get("credentials")
    if told is None:
        return "the credentials came in an answer that was lost"
    with psycopg.connect(world.connect(told)) as connection:
        row = connection.execute("SELECT session_user, count(*) FROM invoices").fetchone()
    world.act(str(answer["id"]), str(row[0]) if row else "")
    return "read"


KINDS: tuple[Kind, ...] = (
    Kind(_tool("python", "python", parameters={"code": "string"}), _script),
    Kind(_tool("again", "python", parameters={"code": "string"}, idempotent=True), _script),
    Kind(
        _tool("shell", "shell", parameters={"path": "string"}, argv=["/usr/bin/head", "-c", "20", "{path}"]),
        lambda mark: {"path": mark},
    ),
    Kind(
        _tool("note", "agent", parameters={"mark": "string"}, minutes=1), lambda mark: {"mark": mark}, _note
    ),
    Kind(
        _tool(
            "role", "credential", parameters={"table": "string"}, issuer="postgres", source="chaos-database",
            tables=["invoices"], minutes=1,
        ),
        lambda mark: {"table": "invoices"},
        _role,
    ),
)  # fmt: skip
