"""The world file as it is written: its items, their fields, and what each field takes.

Reading changes nothing and finds every mistake of a file at once, each with its line and field. A field that
a file does not mention has its default, so that the file says all there is to an item; `mode` and `paused`
alone stay as they are, since they are switches that people throw in a hurry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

from policies import engine, limit_models, yamlfile
from policies.arguments import ArgumentsRefused, check_schema, normalise
from policies.models import NAME, Agent, Rule, Tool
from policies.rules import RuleSpec, problems_of
from policies.yamlfile import Node, YamlRefused

_NAME = re.compile(NAME.regex)
_GROUP = re.compile(r"\w[\w .@&-]{0,148}\w|\w")
_LABEL = re.compile(r"[a-z][a-z0-9_:.-]{0,49}")
_GLOB = re.compile(r"[a-zA-Z0-9._@*?-]{1,100}")
_SPAN = re.compile(r"(?:[0-9]{1,9}[dhms]){1,4}")
_SUM = re.compile(r"[0-9]{1,30}(\.[0-9]{1,6})?")
_PART = re.compile(r"([0-9]+)([dhms])")
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_PLACEHOLDER = re.compile(r"\{([A-Za-z0-9_]+)\}")
RETURNS = ("private", "secret")
ORIGINS = ("user", "named", "trusted", "agent", "untrusted", "reviewer")
LIMITS = ("actions_per_minute", "actions_per_day", "pending")
MAX_COUNT = 1_000_000
MAX_DEPTH = yamlfile.MAX_DEPTH - 4  # what stands around a field takes a few levels


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


Reader = Callable[[Node], Any]


class _Wrong(Exception):
    def __init__(self, why: str, node: Node, below: str = "") -> None:
        super().__init__(why)
        self.why, self.line, self.below = why, node.line, below


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
    values = _read_fields(FIELDS[kind] | {"absent": _flag}, path, node.value, faults)
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
        except _Wrong as wrong:
            faults.append(Fault(wrong.line, f"{path}.{key}{wrong.below}", wrong.why))
    return values


def _refuse_twice(items: list[Item], faults: list[Fault]) -> None:
    seen: dict[str, Item] = {}
    for item in items:
        if item.name in seen:
            faults.append(item.fault("name", f"{item.name} stands already on line {seen[item.name].line}"))
        seen.setdefault(item.name, item)


def _text(node: Node, *, longest: int = 20_000, form: re.Pattern[str] | None = None, what: str = "") -> str:
    if isinstance(node.value, dict | list):
        raise _Wrong("must be a text", node)
    if node.doubt or not isinstance(node.value, str):
        raise _Wrong(node.doubt or f"must be a text: quote it ('{node.text}')", node)
    if len(node.value) > longest:
        raise _Wrong(f"has {len(node.value)} characters, at most {longest} are taken", node)
    if "\x00" in node.value or any("\ud800" <= sign <= "\udfff" for sign in node.value):
        raise _Wrong("holds a NUL or a lone surrogate", node)
    if form is not None and not form.fullmatch(node.value):
        raise _Wrong(f"{node.value[:80]!r} is not {what}", node)
    return node.value


def _choice(node: Node, *, of: tuple[str, ...]) -> str:
    chosen = _text(node)
    if chosen not in of:
        raise _Wrong(f"{chosen[:80]!r} is not one of {', '.join(of)}", node)
    return chosen


def _list(node: Node, *, of: Reader) -> list[Any]:
    if not isinstance(node.value, list):
        raise _Wrong("must be a list", node)
    found = []
    for at, item in enumerate(node.value):
        try:
            found.append(of(item))
        except _Wrong as wrong:
            raise _Wrong(wrong.why, item, f"[{at}]{wrong.below}") from None
    return found


def _flag(node: Node) -> bool:
    if not isinstance(node.value, bool):
        raise _Wrong("must be true or false", node)
    return node.value


def _count(node: Node, *, least: int = 0, most: int = MAX_COUNT) -> int:
    if isinstance(node.value, bool) or not isinstance(node.value, int) or not least <= node.value <= most:
        raise _Wrong(f"must be a whole number from {least} to {most}", node)
    return node.value


def _money(node: Node) -> Decimal:
    if isinstance(node.value, bool) or not _SUM.fullmatch(node.text):
        raise _Wrong("must be a number from 0, such as 500 or 99.50", node)
    return Decimal(node.text)


def seconds(text: str) -> int:
    """The seconds that a time such as 45s, 15m or 1h30m stands for. Raises ValueError."""
    if not _SPAN.fullmatch(text):
        raise ValueError("must be a time with its unit, such as 45s, 15m, 2h or 1d")
    return sum(int(count) * _SECONDS[unit] for count, unit in _PART.findall(text))


def _duration(node: Node) -> int:
    try:
        return seconds(node.text)
    except ValueError as error:
        raise _Wrong(str(error), node) from None


def _moment(node: Node) -> datetime:
    try:
        moment = datetime.fromisoformat(node.text)
    except ValueError:
        raise _Wrong("must be a moment such as 2030-12-31T18:00:00Z", node) from None
    if moment.tzinfo is None:
        raise _Wrong("must carry its time zone, for example a Z at its end", node)
    return moment.astimezone(UTC)


def _json(node: Node, *, mapping: bool = False) -> Any:
    if mapping and not isinstance(node.value, dict):
        raise _Wrong("must be a mapping", node)
    try:
        value = normalise(yamlfile.unfold(node), max_depth=MAX_DEPTH)
    except YamlRefused as refused:
        raise _Wrong(refused.why, Node(None, refused.line)) from None
    except ArgumentsRefused as refused:
        raise _Wrong(refused.detail, node) from None
    if _holds_nul(value):
        raise _Wrong("holds a NUL", node)
    return value


def _holds_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return any("\x00" in key or _holds_nul(item) for key, item in value.items())
    if isinstance(value, list):
        return any(map(_holds_nul, value))
    return isinstance(value, str) and "\x00" in value


def _schema(node: Node) -> Any:
    schema = _json(node, mapping=True)
    try:
        check_schema(schema)
    except ArgumentsRefused as refused:
        raise _Wrong(refused.why, node, refused.path.replace("/", ".")) from None
    return schema


def _limits(node: Node) -> dict[str, int]:
    if not isinstance(node.value, dict):
        raise _Wrong(f"must be a mapping of {', '.join(LIMITS)}", node)
    found = {}
    for key, item in node.value.items():
        if key not in LIMITS:
            raise _Wrong(f"is not a limit; there are {', '.join(LIMITS)}", item, f".{key}")
        try:
            found[key] = _count(item)
        except _Wrong as wrong:
            raise _Wrong(wrong.why, item, f".{key}") from None
    return found


def _origins(node: Node) -> dict[str, str]:
    if not isinstance(node.value, dict):
        raise _Wrong("must be a mapping of argument and origin", node)
    return {key: _choice(item, of=ORIGINS) for key, item in node.value.items()}


def _approvers(node: Node) -> str:
    text = _text(node, longest=150)
    if text != "@user" and not _GROUP.fullmatch(text):
        raise _Wrong(f"{text[:80]!r} is neither a group nor @user", node)
    return text


_name = partial(_text, form=_NAME, what="a name: letters, digits and . _ @ - only, at most 100")
_group = partial(_text, longest=150, form=_GROUP, what="a group's name")
_labels = partial(
    _list, of=partial(_text, form=_LABEL, what="a label: lower-case letters, digits and _ : . -")
)
_glob = partial(_text, form=_GLOB, what="a name or a pattern with * and ?")
_globs = partial(_list, of=_glob)
_words = partial(_list, of=partial(_text, longest=100))
_texts = partial(_list, of=_text)
_short = partial(_text, longest=500)


def _choices(values: list[str]) -> Reader:
    return partial(_choice, of=tuple(values))


CONFIG: dict[str, Reader] = {
    "issuer": _name,
    "source": _name,
    "code": partial(_text, longest=200_000),
    "tables": _words,
    "minutes": partial(_count, least=1, most=60),
    "argv": _texts,
    "limits": partial(_json, mapping=True),
    "egress": _texts,
    "secrets": partial(_list, of=_name),
}
FIELDS: dict[str, dict[str, Reader]] = {
    "agents": {
        "name": _name, "description": _short, "owner": _name, "team": _group,
        "mode": _choices(Agent.Mode.values), "labels": _labels, "limits": _limits,
    },
    "tools": {
        "name": _name,
        "description": _text,
        "runs": _choices(Tool.Runs.values), "effect": _choices(Tool.Effect.values),
        "output": _choices(Tool.Output.values),
        "untrusted_fields": _words,
        "returns": partial(_list, of=_choices(list(RETURNS))),
        "sends": _choices(Tool.Sends.values),
        "idempotent": _flag,
        "authority": _words,
        "target": partial(_text, longest=100),
        "summary": partial(_text, longest=300),
        "labels": _labels,
        "parameters": _schema,
        "paused": _flag,
        **CONFIG,
    },
    "rules": {
        "name": _name,
        "description": _short,
        "effect": _choices(Rule.Effect.values),
        "agents": _globs,
        "tools": _globs,
        "when": _text,
        "approvers": _approvers,
        "quorum": partial(_count, least=1, most=20),
        "expires_after": _duration,
        "step_up": _flag,
        "fallback": _flag,
        "mode": _choices(Rule.Mode.values),
        "enabled": _flag,
        "until": _moment,
    },
    "cases": {
        "name": partial(_text, longest=200), "tool": _name, "args": partial(_json, mapping=True),
        "agent": _name, "labels": partial(_list, of=partial(_text, longest=20)), "origin": _origins,
        "expect": _choices(Rule.Effect.values),
    },
    "limits": {
        "name": _name, "tool": _glob, "group": _group, "agent": _name, "per_minute": _count,
        "per_day": _count, "pending": _count, "sum_of": partial(_text, longest=100), "sum_per_day": _money,
    },
}  # fmt: skip


def _check_tool(item: Item) -> list[Fault]:
    """Whatever a tool says of its arguments names arguments that it has."""
    schema = item.values.get("parameters", {})
    known = set(schema.get("properties", {}))
    if schema.get("additionalProperties") or schema.get("patternProperties"):
        return []
    named = [("authority", name.split(".")[0]) for name in item.values.get("authority", [])]
    named += [("target", item.values["target"])] if item.values.get("target") else []
    named += [("summary", name) for name in _PLACEHOLDER.findall(item.values.get("summary", ""))]
    return [
        item.fault(key, f"{name!r} is no parameter of the tool") for key, name in named if name not in known
    ]


def _check_rule(item: Item) -> list[Fault]:
    if "effect" not in item.values:
        return [item.fault("effect", "is missing")]
    lists = {key: tuple(item.values.get(key, ())) for key in ("agents", "tools")}
    rule = RuleSpec(id=item.name, name=item.name, **(dict(item.values) | lists))
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
