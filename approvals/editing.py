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
from traces import presenters
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
    if isinstance(value, str) and _faithful(value):
        return "text"
    return "lines" if _is_lines(value) else "json"


def written(value: Any) -> str:
    """A value as the text of its field."""
    if form_of(value) == "text":
        return str(value)
    return "\n".join(value) if _is_lines(value) else as_json(value)


def as_json(value: Any) -> str:
    """JSON to be edited. What cannot be seen is written as an escape, so that it is seen."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return text if _faithful(text) else json.dumps(value, indent=2)


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
    if form_of(before) == "text":
        return text
    if _is_lines(before):
        return [line.strip() for line in text.split("\n") if line.strip()]
    return _json(text, name)


def _json(text: str, what: str) -> Any:
    try:
        return parse_json(text.encode())
    except (ArgumentsRefused, UnicodeEncodeError) as error:
        raise Refused("invalid", f"{what}: {error}") from None


def _faithful(text: str) -> bool:
    """Whether a text field shows all of it and gives it back as it was."""
    return "\r" not in text and presenters.visible(text) == text


def _is_lines(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and _is_line(item) for item in value)


def _is_line(text: str) -> bool:
    return text != "" and text == text.strip() and "\n" not in text and _faithful(text)


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
