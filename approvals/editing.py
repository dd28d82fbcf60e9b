"""The form by which a reviewer changes arguments: every argument as a field, or all of them as JSON. Pure.

A form gives texts and Windows line ends back; what the reviewer did not touch must come back bit for bit, or
an untouched argument would count as edited.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from policies.arguments import ArgumentsRefused, parse_json
from traces.problems import Refused

PREFIX = "arg."
ALL = "args_json"


@dataclass(frozen=True)
class Field:
    """One argument in the form. `form` is text (as it stands), lines (one value a line) or json."""

    name: str
    form: str
    text: str

    @property
    def rows(self) -> int:
        return max(1, min(18, self.text.count("\n") + 1 + len(self.text) // 90))


def fields(args: Mapping[str, Any]) -> tuple[Field, ...]:
    """The form of these arguments."""
    return tuple(Field(name, form_of(value), written(value)) for name, value in args.items())


def form_of(value: Any) -> str:
    if isinstance(value, str):
        return "text"
    return "lines" if _is_lines(value) else "json"


def written(value: Any) -> str:
    """A value as the text of its field."""
    if isinstance(value, str):
        return value
    return "\n".join(value) if _is_lines(value) else json.dumps(value, indent=2, ensure_ascii=False)


def read(post: Mapping[str, str], args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that the reviewer sent. Raises Refused("invalid"), naming the field."""
    if ALL in post:
        edited = _json(post[ALL], "the arguments")
        if not isinstance(edited, dict):
            raise Refused("invalid", "the arguments are one JSON object")
        return edited
    return {name: _field(name, value, post.get(PREFIX + name)) for name, value in args.items()}


def _field(name: str, before: Any, sent: str | None) -> Any:
    if sent is None or _lines(sent) == _lines(written(before)):
        return before
    text = _lines(sent)
    if isinstance(before, str):
        return text
    if _is_lines(before):
        return [line.strip() for line in text.split("\n") if line.strip()]
    return _json(text, name)


def _json(text: str, what: str) -> Any:
    try:
        return parse_json(text.encode())
    except (ArgumentsRefused, UnicodeEncodeError) as error:
        raise Refused("invalid", f"{what}: {error}") from None


def _is_lines(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, str) and item and "\n" not in item for item in value
    )


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
