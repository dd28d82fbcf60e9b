"""What rows may speak of: the arguments that tools declare and the facts of every call, each with its kind.

Arguments come from JSON Schema (draft 2020-12), through `$ref`, `anyOf` with null and objects in objects.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

from policies import celtext, functions
from policies.celtext import Value
from policies.conditions import DAYS, MAX_STEPS, steps_of
from policies.facts import FACTS
from policies.operators import BY_KIND, OPERATORS, ORIGINS, SEVERITIES, fitting
from policies.references import resolved
from policies.rowwords import LABELS, label

MAX_ARGUMENTS = 400
_SCALARS = {"string": "text", "number": "number", "integer": "number", "boolean": "flag", "object": "object"}
_FACT_KINDS = {"string": "text", "int": "whole", "bool": "flag", "list(string)": "texts"}
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "tool.effect": ("read", "write", "destructive"),
    "tool.sends": ("none", "internal", "external"),
    "tool.output": ("trusted", "untrusted"),
    "tool.returns": ("private", "secret"),
    "agent.mode": ("read_only", "standard"),
    "session.labels": ("untrusted", "private", "secret", "injection"),
}
_NUMBER = re.compile(r"-?[0-9]{1,16}(?:\.[0-9]{1,12})?")
_LOCAL_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}")


@dataclass(frozen=True)
class Subject:
    """One thing to compare. `expression` is its CEL, `choices` the values it has where these are few."""

    expression: str
    kind: str
    label: str
    group: str
    doc: str = ""
    nullable: bool = False
    choices: tuple[str, ...] = ()

    @property
    def operators(self) -> tuple[str, ...]:
        whole = len(steps_of(self.expression)) == 1
        return fitting(self.kind, argument=self.group == "Arguments", top=whole)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"operators": list(self.operators)}


@dataclass(frozen=True)
class Declared:
    """A tool as far as rows need it."""

    name: str
    parameters: Mapping[str, Any]
    authority: Sequence[str] = ()


def offered(tools: Iterable[Declared], *, zone: str = "") -> tuple[Subject, ...]:
    """What can be compared where a rule concerns these tools; `zone` is a time zone to offer beside UTC."""
    return (*arguments(tools), *facts(), *clock(zone))


def arguments(tools: Iterable[Declared]) -> tuple[Subject, ...]:
    """Every argument of any of the tools. Where they differ about one, it is of any kind."""
    found: dict[str, Subject] = {}
    where: dict[str, list[str]] = {}
    for tool in tools:
        for subject in _of_tool(tool):
            key = subject.expression
            if key not in found and len(found) >= MAX_ARGUMENTS:
                continue
            found[key] = _merged(found[key], subject) if key in found else subject
            where.setdefault(key, []).append(tool.name)
    return tuple(replace(found[key], doc=_said(found[key].doc, where[key])) for key in sorted(found))


def facts() -> tuple[Subject, ...]:
    """The facts that rows can compare."""
    given = [_fact(fact.name, _FACT_KINDS[fact.type], fact.doc) for fact in FACTS if fact.type in _FACT_KINDS]
    counted = "How many addresses stand in to, cc and bcc together."
    return (
        Subject("recipients(args)", "whole", LABELS["recipients(args)"], "Arguments together", counted),
        Subject(
            "authority", "authority", LABELS["authority"], "Arguments together",
            "Where the arguments came from that say who or what is affected.", choices=ORIGINS,
        ),
        Subject("findings", "findings", "the firewall", "Firewall", "What it found in the arguments."),
        *given,
    )  # fmt: skip


def clock(zone: str = "") -> tuple[Subject, ...]:
    """Date, hour and day of the week, in UTC and in another time zone."""
    zones = ["UTC", *([zone] if zone != "UTC" and known_zone(zone) else [])]
    hours = [f'now.getHours("{name}")' for name in zones]
    days = [f'now.getDayOfWeek("{name}")' for name in zones]
    return (
        Subject("now", "moment", label("now"), "Time", "When the call is judged, in UTC."),
        *(Subject(hour, "whole", label(hour), "Time", "0 to 23.") for hour in hours),
        *(Subject(day, "day", label(day), "Time", choices=(*DAYS[1:], DAYS[0])) for day in days),
    )


def known_zone(name: str) -> bool:
    return name in _zones()


@cache
def _zones() -> frozenset[str]:
    # Python walks a folder of a thousand files to know them.
    return frozenset(zoneinfo.available_timezones())


def _fact(name: str, kind: str, doc: str) -> Subject:
    holder = name.partition(".")[0].capitalize()
    return Subject(name, kind, label(name), holder, doc, choices=_CHOICES.get(name, ()))


def _of_tool(tool: Declared) -> Iterator[Subject]:
    root = tool.parameters
    for steps, schema in _places(root, root, ()):
        kind, nullable = _kind(root, schema)
        says = "Says who or what is affected." if ".".join(steps) in tool.authority else ""
        expression = celtext.place("args", steps)
        yield Subject(
            expression, kind, label(expression), "Arguments",
            f"{str(schema.get('description', ''))[:300]} {says}".strip(), nullable, _enum(root, schema),
        )  # fmt: skip


def _places(
    root: Mapping[str, Any], schema: Mapping[str, Any], above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    declared = resolved(root, schema).get("properties")
    if not isinstance(declared, Mapping) or len(above) >= MAX_STEPS - 1:
        return
    for name, inner in declared.items():
        if isinstance(inner, Mapping) and len(name) <= 200 and "\x00" not in name:
            yield (*above, name), inner
            yield from _places(root, inner, (*above, name))


def _kind(root: Mapping[str, Any], schema: Mapping[str, Any], depth: int = 0) -> tuple[str, bool]:
    """The kind of a value, and whether it may be null."""
    schema = resolved(root, schema)
    branches = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(branches, list) and depth < 4:
        inner = [_kind(root, branch, depth + 1) for branch in branches if isinstance(branch, Mapping)]
        return _only({kind for kind, _ in inner if kind != "null"}), any(null for _, null in inner)
    named = schema.get("type")
    types = [named] if isinstance(named, str) else list(named or ())
    kinds = {_of_type(root, schema, word, depth) for word in types if word != "null"}
    if not kinds and types:
        return "null", True
    return _only(kinds), "null" in types


def _only(kinds: set[str]) -> str:
    return kinds.pop() if len(kinds) == 1 else "any"


def _of_type(root: Mapping[str, Any], schema: Mapping[str, Any], word: str, depth: int) -> str:
    if word != "array":
        return _SCALARS.get(word, "any")
    items = schema.get("items")
    inner = _kind(root, items, depth + 1)[0] if isinstance(items, Mapping) and depth < 4 else "any"
    return {"text": "texts", "number": "numbers"}.get(inner, "list")


def _enum(root: Mapping[str, Any], schema: Mapping[str, Any]) -> tuple[str, ...]:
    schema = resolved(root, schema)
    items = schema.get("items")
    values = schema.get("enum") or (items.get("enum") if isinstance(items, Mapping) else None) or ()
    return tuple(value for value in values if isinstance(value, str))[:100]


def _merged(one: Subject, other: Subject) -> Subject:
    kind = one.kind if one.kind == other.kind else "any"
    both = tuple(dict.fromkeys((*one.choices, *other.choices))) if one.choices and other.choices else ()
    return replace(
        one, kind=kind, nullable=one.nullable or other.nullable, choices=both, doc=one.doc or other.doc
    )


def _said(doc: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{doc} An argument of {', '.join(names[:3])}{more}.".strip()


def guessed(expression: str, kind: str) -> Subject | None:
    """An argument that no tool declares, taken for what it is compared as."""
    if not expression.startswith("args") or kind not in BY_KIND:
        return None
    return Subject(expression, kind, label(expression), "Arguments", "No tool of this rule declares it.")


def typed(subject: Subject | None, operator: str, given: Sequence[Any]) -> tuple[Value, ...]:
    """What a person typed, as values of the kind that is compared. ValueError in words for them."""
    known = OPERATORS.get(operator)
    if known is None:
        raise ValueError("choose a comparison")
    if subject is None:
        raise ValueError("choose what is compared")
    if operator not in subject.operators:
        raise ValueError(f"“{known.words}” does not fit {subject.label}")
    if len(given) > 200:
        raise ValueError("give at most 200 values")
    return tuple(_value(subject, operator, value) for value in given)


def _value(subject: Subject, operator: str, given: Any) -> Value:
    text = str(given).strip() if not isinstance(given, bool) else ""
    if operator.startswith("size_"):
        return _whole(text, most=1_000_000)
    if operator in ("came", "not_came", "any_from", "none_from", "all_from", "not_all_from"):
        return _among(text, ORIGINS)
    if operator in ("severity", "no_severity"):
        return _among(text, SEVERITIES)
    if operator in ("domain", "not_domain", "host", "not_host", "only_at", "outside"):
        return _domain(text)
    if subject.kind == "moment":
        return f"{text}:00Z" if _LOCAL_MOMENT.fullmatch(text) else text
    if subject.kind == "day":
        return DAYS.index(_among(text, DAYS))
    if "getHours" in subject.expression:
        return _whole(text, most=23)
    if subject.kind == "whole":
        return _whole(text, most=1_000_000_000)
    return _number(text) if subject.kind in ("number", "numbers") else str(given)


def _among(text: str, allowed: Sequence[str]) -> str:
    if text not in allowed:
        raise ValueError(f"choose of {', '.join(allowed)}")
    return text


def _whole(text: str, *, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) > most:
        raise ValueError(f"give a whole number from 0 to {most}")
    return int(text)


def _number(text: str) -> int | float:
    if not _NUMBER.fullmatch(text):
        raise ValueError("give a number such as 500 or 99.50")
    return float(text) if "." in text else int(text)


def _domain(text: str) -> str:
    try:
        return functions.domain("x@" + text.lstrip("@"))
    except (ValueError, UnicodeError):
        raise ValueError(f"{text[:80]!r} is no domain such as example.com") from None


assert set(_FACT_KINDS.values()) <= set(BY_KIND)
