"""The world file as it is written: its items, their fields, and what each field takes.

Reading changes nothing and finds every mistake of a file at once, each with its line and field. A field that
a file does not mention has its default, so that the file says all there is to an item; `mode` and `paused`
alone stay as they are, since they are switches that people throw in a hurry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from policies import destinations, engine, escalating, limit_models, tokenterms, worldsql, yamlfile
from policies.models import Agent, Rule, Tool
from policies.rules import RuleSpec, problems_of
from policies.worldfields import (
    LIMITS,
    MAX_DEPTH,
    RETURNS,
    Reader,
    Wrong,
    read_approvers,
    read_choices,
    read_count,
    read_duration,
    read_egress,
    read_flag,
    read_glob,
    read_globs,
    read_group,
    read_headers,
    read_json,
    read_labels,
    read_limits,
    read_list,
    read_moment,
    read_money,
    read_name,
    read_origins,
    read_schema,
    read_session,
    read_short,
    read_steps,
    read_text,
    read_texts,
    read_words,
    seconds,
)
from policies.yamlfile import Node, YamlRefused

__all__ = [
    "CHECKS",
    "CONFIG",
    "FIELDS",
    "LIMITS",
    "MAX_DEPTH",
    "PREVIEWS",
    "RETURNS",
    "Fault",
    "Item",
    "World",
    "read",
    "seconds",
]
_PLACEHOLDER = re.compile(r"\{([A-Za-z0-9_]+)\}")


@dataclass(frozen=True)
class Fault:
    """One mistake: where (`line` from 1, 0 if nowhere; `field` such as rules[2].when) and what."""

    line: int
    field: str
    why: str

    def __str__(self) -> str:
        place = ", ".join(part for part in (f"line {self.line}" if self.line else "", self.field) if part)
        return f"{place}: {self.why}" if place else self.why


@dataclass(frozen=True)
class Item:
    """One agent, tool, rule or case; `values` are the fields that the file gives, as the models take them."""

    kind: str
    name: str
    path: str
    line: int
    values: Mapping[str, Any]
    lines: Mapping[str, int]
    absent: bool = False

    def fault(self, field: str, why: str) -> Fault:
        return Fault(self.lines.get(field, self.line), f"{self.path}.{field}" if field else self.path, why)


@dataclass
class World:
    """What a file says: items by kind, in its order, and every mistake in it."""

    items: dict[str, list[Item]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def of(self, kind: str) -> list[Item]:
        return self.items.get(kind, [])


def read(text: str) -> World:
    """The items of a world file, or its mistakes; of a file that is no YAML, one. Raises nothing."""
    world = World()
    try:
        root = yamlfile.load(text)
    except YamlRefused as refused:
        world.faults.append(Fault(refused.line, "", refused.why))
        return world
    if not isinstance(root.value, dict):
        world.faults.append(Fault(root.line, "", f"a world file is a mapping of {', '.join(FIELDS)}"))
        return world
    for kind, node in root.value.items():
        _read_kind(kind, node, world)
    return world


def _read_kind(kind: str, node: Node, world: World) -> None:
    if kind not in FIELDS:
        world.faults.append(Fault(node.line, kind, f"is unknown here; a world file has {', '.join(FIELDS)}"))
    elif not isinstance(node.value, list):
        world.faults.append(Fault(node.line, kind, "must be a list"))
    else:
        items = [_read_item(kind, f"{kind}[{at}]", item, world.faults) for at, item in enumerate(node.value)]
        world.items[kind] = [item for item in items if item is not None]
        _refuse_twice(world.items[kind], world.faults)


def _read_item(kind: str, path: str, node: Node, faults: list[Fault]) -> Item | None:
    if not isinstance(node.value, dict):
        faults.append(Fault(node.line, path, "must be a mapping"))
        return None
    before = len(faults)
    values = _read_fields(FIELDS[kind] | {"absent": read_flag}, path, node.value, faults)
    name = values.pop("name", "")
    if "name" not in node.value:
        faults.append(Fault(node.line, f"{path}.name", "is missing"))
    lines = {key: value.line for key, value in node.value.items()}
    absent = bool(values.pop("absent", False))
    item = Item(kind, name, path, node.line, values, lines, absent)
    if len(faults) == before and not absent:
        faults += CHECKS[kind](item)
    return item if len(faults) == before else None


def _read_fields(
    readers: Mapping[str, Reader], path: str, fields: Mapping[str, Node], faults: list[Fault]
) -> dict[str, Any]:
    values = {}
    for key, node in fields.items():
        if key not in readers:
            near = ", ".join(readers)
            faults.append(Fault(node.line, f"{path}.{key}", f"is not a field; there are {near}"))
            continue
        try:
            values[key] = readers[key](node)
        except Wrong as wrong:
            faults.append(Fault(wrong.line, f"{path}.{key}{wrong.below}", wrong.why))
    return values


def _refuse_twice(items: list[Item], faults: list[Fault]) -> None:
    seen: dict[str, Item] = {}
    for item in items:
        if item.name in seen:
            faults.append(item.fault("name", f"{item.name} stands already on line {seen[item.name].line}"))
        seen.setdefault(item.name, item)


# The kinds of payload that a card can draw, for a tool that says which one its calls are.
PREVIEWS = ("python", "shell", "sql", "http", "changes", "mail", "money", "table")
CONFIG: dict[str, Reader] = {
    "issuer": read_name,
    "source": read_name,
    "code": partial(read_text, longest=200_000),
    "tables": read_words,
    "minutes": partial(read_count, least=1, most=60),
    "token": tokenterms.read_terms,
    "start_minutes": partial(read_count, least=1, most=10_080),
    "argv": read_texts,
    "limits": partial(read_json, mapping=True),
    "egress": read_egress,
    "headers": read_headers,
    "secrets": partial(read_list, of=read_name),
    "secret_overlap_minutes": partial(read_count, least=0, most=10_080),
    "preview": read_choices(list(PREVIEWS)),
    **worldsql.FIELDS,
}
FIELDS: dict[str, dict[str, Reader]] = {
    "agents": {
        "name": read_name, "description": read_short, "owner": read_name, "team": read_group,
        "mode": read_choices(Agent.Mode.values), "labels": read_labels, "limits": read_limits,
    },
    "tools": {
        "name": read_name,
        "description": read_text,
        "runs": read_choices(Tool.Runs.values), "effect": read_choices(Tool.Effect.values),
        "output": read_choices(Tool.Output.values),
        "untrusted_fields": read_words,
        "returns": partial(read_list, of=read_choices(list(RETURNS))),
        "sends": read_choices(Tool.Sends.values),
        "idempotent": read_flag,
        "authority": read_words,
        "target": partial(read_text, longest=100),
        "summary": partial(read_text, longest=300),
        "labels": read_labels,
        "parameters": read_schema,
        "paused": read_flag,
        **CONFIG,
    },
    "rules": {
        "name": read_name,
        "description": read_short,
        "effect": read_choices(Rule.Effect.values),
        "agents": read_globs,
        "tools": read_globs,
        "when": read_text,
        "approvers": read_approvers,
        "quorum": partial(read_count, least=1, most=20),
        "expires_after": read_duration,
        "step_up": read_flag,
        "separate_duties": read_flag,
        "escalate": read_steps,
        "egress": read_egress,
        "fallback": read_flag,
        "mode": read_choices(Rule.Mode.values),
        "enabled": read_flag,
        "until": read_moment,
    },
    "cases": {
        "name": partial(read_text, longest=200), "tool": read_name, "args": partial(read_json, mapping=True),
        "agent": read_name, "labels": partial(read_list, of=partial(read_text, longest=20)),
        "origin": read_origins, "session": read_session, "expect": read_choices(Rule.Effect.values),
        "or_stricter": read_flag,
    },
    "limits": {
        "name": read_name, "tool": read_glob, "group": read_group, "agent": read_name,
        "per_minute": read_count, "per_day": read_count, "pending": read_count,
        "sum_of": partial(read_text, longest=100), "sum_per_day": read_money,
    },
}  # fmt: skip


def _check_tool(item: Item) -> list[Fault]:
    """Whatever a tool says of its arguments names arguments that it has; its secrets go somewhere."""
    unfit = [item.fault(key, why) for key, why in destinations.faults(item.values)]
    return unfit + _check_arguments(item)


def _check_arguments(item: Item) -> list[Fault]:
    schema = item.values.get("parameters", {})
    known = set(schema.get("properties", {}))
    open_ended = bool(schema.get("additionalProperties") or schema.get("patternProperties"))
    of_token = tokenterms.faults(item.values, None if open_ended else known)
    faults = [item.fault("token", why) for why in of_token]
    faults += [item.fault(key, why) for key, why in worldsql.faults(item.values)]
    if open_ended:
        return faults
    named = [("authority", name.split(".")[0]) for name in item.values.get("authority", [])]
    named += [("target", item.values["target"])] if item.values.get("target") else []
    named += [("summary", name) for name in _PLACEHOLDER.findall(item.values.get("summary", ""))]
    return faults + [
        item.fault(key, f"{name!r} is no parameter of the tool") for key, name in named if name not in known
    ]


def _check_rule(item: Item) -> list[Fault]:
    if "effect" not in item.values:
        return [item.fault("effect", "is missing")]
    lists = {key: tuple(item.values.get(key, ())) for key in ("agents", "tools")}
    known = dict(item.values) | lists | {"escalate": escalating.steps(item.values.get("escalate", ()))}
    known |= {"egress": tuple(item.values["egress"])} if "egress" in item.values else {}
    rule = RuleSpec(id=item.name, name=item.name, **known)
    faults = [item.fault("", why) for why in problems_of(rule)]
    return faults + [item.fault("when", str(problem)) for problem in engine.check_condition(rule.when)]


def _check_case(item: Item) -> list[Fault]:
    return [item.fault(key, "is missing") for key in ("tool", "expect") if key not in item.values]


CHECKS: dict[str, Callable[[Item], list[Fault]]] = {
    "agents": lambda item: [],
    "limits": lambda item: [item.fault(key, why) for key, why in limit_models.faults(item.values)],
    "tools": _check_tool,
    "rules": _check_rule,
    "cases": _check_case,
}
