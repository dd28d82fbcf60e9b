"""The form by which a reviewer changes arguments: every argument as a field, or all of them as JSON. Pure.

A form gives texts and Windows line ends back; what the reviewer did not touch must come back bit for bit, or
an untouched argument would count as edited. What the tool's schema declares and the call left out has an
empty field, and stays left out while that is empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from approvals import fields as fitting
from approvals.fields import JSON, LINES, MISSING, NUMBER, TEXT, Field, Shape, as_json, shape, shapes, written
from policies.arguments import ArgumentsRefused, parse_json, pointer
from traces.problems import Refused

__all__ = ["ALL", "FORM", "PREFIX", "Field", "as_json", "fields", "read", "redrawn"]
PREFIX = "arg."
FORM = "form."  # beside each field: of which kind it was drawn
ALL = "args_json"
NOTHING: Mapping[str, Any] = {}


def fields(
    args: Mapping[str, Any], schema: Mapping[str, Any] = NOTHING, *, stored: Mapping[str, Any] = NOTHING
) -> tuple[Field, ...]:
    """The form of these arguments, by what the tool's `schema` says of them. What only `stored` has, and the
    reviewer took out, is an empty field.
    """
    known = shapes(schema)
    drawn = [fitting.field(name, args.get(name, MISSING), shape(known, name)) for name in {**known, **args}]
    gone = [_taken_out(name, shape(known, name)) for name in stored if name not in args]
    kept = {each.name for each in gone}
    return (*(each for each in drawn if each.name not in kept), *gone)


def redrawn(
    post: Mapping[str, str],
    args: Mapping[str, Any],
    schema: Mapping[str, Any],
    wrong: Mapping[str | None, str],
) -> tuple[Field, ...]:
    """The form as it was sent, each field with what stood in it; `wrong` says why of those at fault."""
    known = shapes(schema)
    sent = [name.removeprefix(PREFIX) for name in post if name.startswith(PREFIX)]
    names = list({**dict.fromkeys(sent), **known, **args})
    drawn = []
    for name in names:
        about = shape(known, name)
        plain = fitting.field(name, args.get(name, MISSING), about)
        if PREFIX + name in post:
            form = _form(post, name, args.get(name, MISSING), about)
            plain = fitting.dressed(replace(plain, form=form, text=_lines(post[PREFIX + name])), about)
        drawn.append(replace(plain, wrong=wrong.get(name, "")))
    return tuple(drawn)


def read(
    post: Mapping[str, str], args: Mapping[str, Any], schema: Mapping[str, Any] = NOTHING
) -> dict[str, Any]:
    """The arguments that the reviewer sent. Raises Refused("invalid"); `path` in its `extra` points to the
    argument at fault.
    """
    if ALL in post:
        edited = _json(post[ALL], "the arguments")
        if not isinstance(edited, dict):
            why = "the arguments are one JSON object"
            raise Refused("invalid", why, path="", why=why)
        return edited
    known = shapes(schema)
    added = [name.removeprefix(PREFIX) for name in post if name.startswith(PREFIX)]
    found = {
        name: _field(name, args.get(name, MISSING), post, shape(known, name))
        for name in dict.fromkeys([*args, *added])
    }
    return {name: value for name, value in found.items() if value is not MISSING}


def _field(name: str, before: Any, post: Mapping[str, str], about: Shape) -> Any:
    sent = post.get(PREFIX + name)
    if sent is None:
        return before
    text, form = _lines(sent), _form(post, name, before, about)
    if before is not MISSING and fitting.fits(before, form, about) and text == _lines(written(before, form)):
        return before
    empty = not (text if form in (TEXT, fitting.LINE) else text.strip())
    if empty and _left_out(name, form, before, about):
        return MISSING
    if form == LINES:
        return [line.strip() for line in text.split("\n") if line.strip()]
    return _json(text, name) if form in (JSON, NUMBER, fitting.CHOICE) else text


def _left_out(name: str, form: str, before: Any, about: Shape) -> bool:
    """Whether an empty field leaves its argument out. Raises Refused where the tool must have a value."""
    free = form in (TEXT, fitting.LINE, LINES)
    if about.required and not free:
        raise Refused("invalid", f"{name}: the tool needs it", path=pointer([name]), why="the tool needs it")
    return not about.required and (about.declared or before is MISSING or not free)


def _form(post: Mapping[str, str], name: str, before: Any, about: Shape) -> str:
    """Of which kind the field was drawn: what stood in a draft may differ from what is stored."""
    said = post.get(FORM + name, "")
    return said if said in fitting.FREE or (said and said == about.kind) else fitting.form_of(before, about)


def _taken_out(name: str, about: Shape) -> Field:
    # As JSON: nothing that is stored, not even an empty text, looks like an empty field of that kind.
    plain = Field(name, JSON, "", declared=about.declared, required=about.required)
    return fitting.dressed(plain, about)


def _json(text: str, name: str) -> Any:
    path = "" if name == "the arguments" else pointer([name])
    try:
        return parse_json(text.encode())
    except (ArgumentsRefused, UnicodeEncodeError) as error:
        why = error.why if isinstance(error, ArgumentsRefused) else "it holds a character that cannot be kept"
        raise Refused("invalid", f"{name}: {why}", path=path, why=why) from None


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
