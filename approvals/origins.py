"""Where each authority argument came from, in a sentence and with the very line. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from approvals import payloads
from approvals.models import Action

WORST_FIRST = ("untrusted", "agent", "reviewer", "trusted", "named", "user")
SENTENCES = {
    "user": "stands in what the user wrote",
    "named": "the user named it: it stands beside or joined to his words in the output of a trusted tool",
    "trusted": "stands in the output of a trusted tool",
    "reviewer": "a reviewer wrote it",
    "agent": "stands nowhere in the session: the agent’s own choice",
    "untrusted": "stands only in content that outsiders may have written",
}


@dataclass(frozen=True)
class Quoted:
    """Values that share an origin and a line, and that line with the place of the first value in it."""

    origin: str
    sentence: str
    who: str
    values: tuple[str, ...]
    line: str
    span: tuple[Mapping[str, Any], ...]
    entry: str


@dataclass(frozen=True)
class Authority:
    """One argument that says who or what is affected."""

    name: str
    origin: str
    quotes: tuple[Quoted, ...]


def authorities(action: Action) -> tuple[Authority, ...]:
    """Every authority argument that the call carries, the least trustworthy first."""
    said: Mapping[str, str] = json.loads(action.facts_json).get("authority", {})
    found = [
        Authority(name, origin, _quotes(action.args, name, action.origins)) for name, origin in said.items()
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda item: _rank(item.origin)))


def _quotes(
    args: Mapping[str, Any], name: str, origins: Mapping[str, Mapping[str, Any]]
) -> tuple[Quoted, ...]:
    by_path = {path.lstrip("/"): origin for path, origin in origins.items()}
    grouped: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for path, value in _leaves(args, name):
        origin = by_path.get(path, {"origin": "agent"})
        grouped.setdefault(_key(origin), []).append((payloads.plain(value), str(origin.get("line", ""))))
    quotes = [_quoted(key, found) for key, found in grouped.items()]
    return tuple(sorted(quotes, key=lambda quote: _rank(quote.origin)))


def _key(origin: Mapping[str, Any]) -> tuple[str, ...]:
    """What values must share to be told together: of untrusted ones the line too, to be read."""
    said, who, entry, line = (str(origin.get(part, "")) for part in ("origin", "who", "entry_id", "line"))
    return (said, who, entry, line) if said == "untrusted" else (said, who, entry, "")


def _quoted(key: tuple[str, ...], found: Sequence[tuple[str, str]]) -> Quoted:
    origin, who, entry, _ = key
    values, lines = tuple(value for value, _ in found), {line for _, line in found}
    line = lines.pop() if len(lines) == 1 else ""
    return Quoted(origin, SENTENCES.get(origin, origin), who, values, line, _span(line, values[0]), entry)


def _leaves(args: Mapping[str, Any], name: str) -> list[tuple[str, Any]]:
    """The leaves of one argument; a dotted name reaches into an object."""
    value: Any = args
    for step in [name] if name in args else name.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    path = payloads.escape(name) if name in args else "/".join(map(payloads.escape, name.split(".")))
    return [] if value is None else list(payloads.leaves(value, path))


def _span(line: str, value: str) -> tuple[Mapping[str, Any], ...]:
    at = line.casefold().find(value.casefold())
    return ({"start": at, "end": at + len(value), "label": "the value"},) if at >= 0 and value else ()


def _rank(origin: str) -> int:
    return WORST_FIRST.index(origin) if origin in WORST_FIRST else 0
