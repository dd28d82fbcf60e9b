"""Arguments as fields of a form: which kind fits each, and what of its schema a browser can check. Pure.

A browser that checks may only be as strict as the tool's schema: what it cannot say exactly in the words of
HTML it leaves to the server.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, TypeGuard

from policies.references import properties, resolved
from traces import presenters

TEXT, LINE, LINES, NUMBER, CHOICE, JSON = "text", "line", "lines", "number", "choice", "json"
# Whatever the schema says, these can hold what a person made of an argument.
FREE = (TEXT, LINES, JSON)
MISSING: Any = ...
_TYPES = {"email": "email", "uri": "url", "date": "date"}
_FITS = {
    "email": re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9]+(?:[.-][A-Za-z0-9]+)*"),
    "url": re.compile(r"https?://[A-Za-z0-9.-]+(?::\d{1,5})?(?:/[!-~]*)?"),
}
LONGEST_LINE = 2_000
# Of patterns those that mean the same to RE2 and to a browser, and cannot keep a browser busy: anchored, no
# groups, few parts of varying length.
_ATOM = r"(?:\[\^?(?:[A-Za-z0-9_@.:, ](?:-[A-Za-z0-9])?|\\[dw.\-/])+-?\]|[A-Za-z0-9_@:, -]|\\[dw.\-/]|\.)"
_SAFE = re.compile(rf"\^(?:{_ATOM}(?:[*+?]|\{{\d+(?:,\d*)?\}})?)*\$")
_VARYING = re.compile(r"[*+?]|,\d*\}")
MOST_VARYING = 3


@dataclass(frozen=True)
class Field:
    """One argument in the form. `form` is one of the kinds above, `text` what stands in it; `options` are the
    values (as JSON) and labels of a choice, `checks` what the browser holds it against, as attributes of
    HTML; `wrong` is why it was refused.
    """

    name: str
    form: str
    text: str
    title: str = ""
    note: str = ""
    required: bool = False
    declared: bool = False
    type: str = "text"
    options: tuple[tuple[str, str], ...] = ()
    checks: tuple[tuple[str, str], ...] = ()
    wrong: str = ""

    @property
    def rows(self) -> int:
        return max(1, min(18, self.text.count("\n") + 1 + len(self.text) // 90))

    @property
    def help(self) -> str:
        """What the tool says of it, and how it is written."""
        how = {LINES: "One value a line.", JSON: "JSON."}.get(self.form, "")
        need = "Needed." if self.required else "Empty: left out." if self.declared else ""
        return " ".join(filter(None, (self.note, how, "" if self.form == CHOICE else need)))


@dataclass(frozen=True)
class Shape:
    """What the tool's schema says of one argument; of one that it does not declare, nothing."""

    about: Mapping[str, Any]
    items: Mapping[str, Any]
    required: bool
    declared: bool

    @property
    def kind(self) -> str:
        """The field that the schema asks for; empty where it leaves that to the value."""
        if self.choices:
            return CHOICE
        type_ = self.about.get("type")
        if type_ in ("integer", "number"):
            return NUMBER
        if type_ == "string":
            return LINE if _pattern(self.about) or self.about.get("format") in _TYPES else TEXT
        if type_ == "array" and self.items.get("type") == "string":
            return LINES
        return JSON if isinstance(type_, str) else ""

    @property
    def choices(self) -> tuple[Any, ...]:
        if "const" in self.about:
            return (self.about["const"],)
        listed = self.about.get("enum")
        if isinstance(listed, list):
            return tuple(listed)
        return (True, False) if self.about.get("type") == "boolean" else ()


def shapes(schema: Mapping[str, Any]) -> dict[str, Shape]:
    """What a tool's parameters say of each argument, those that a call must have first."""
    needed = schema.get("required")
    needed = needed if isinstance(needed, list) else []
    found = {
        name: Shape(about, resolved(schema, about.get("items")), name in needed, True)
        for name, about in properties(schema).items()
    }
    return dict(sorted(found.items(), key=lambda item: not item[1].required))


def shape(known: Mapping[str, Shape], name: str) -> Shape:
    return known.get(name) or Shape({}, {}, False, False)


def field(name: str, value: Any, about: Shape) -> Field:
    """The field for an argument with this value; MISSING for one that is left out."""
    form = form_of(value, about)
    text = "" if value is MISSING else written(value, form)
    return dressed(Field(name, form, text, declared=about.declared, required=about.required), about)


def dressed(plain: Field, about: Shape) -> Field:
    """The field with its title, its help, its choices, and what a browser checks."""
    kind = _type(plain, about)
    return replace(
        plain, title=_words(about, "title", plain.name), note=_words(about, "description", plain.name),
        type=kind, options=_options(plain, about), checks=tuple(_checks(plain, about).items()),
    )  # fmt: skip


def form_of(value: Any, about: Shape) -> str:
    """The kind of field that shows this value whole and gives it back as it was."""
    if value is MISSING:
        return about.kind or JSON
    kind = about.kind
    return kind if kind and fits(value, kind, about) else _of_value(value)


def fits(value: Any, kind: str, about: Shape) -> bool:
    if kind == CHOICE:
        return as_json(value) in map(as_json, about.choices)
    if kind == NUMBER:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind == LINE:
        return _of_value(value) == TEXT and "\n" not in value and len(value) <= LONGEST_LINE
    return kind in (JSON, _of_value(value))


def _of_value(value: Any) -> str:
    if isinstance(value, str) and faithful(value):
        return TEXT
    return LINES if _is_lines(value) else JSON


def written(value: Any, form: str) -> str:
    """A value as the text of its field."""
    if form in (TEXT, LINE) and isinstance(value, str):
        return value
    return "\n".join(value) if form == LINES and _is_lines(value) else as_json(value)


def as_json(value: Any) -> str:
    """JSON to be edited. What cannot be seen is written as an escape, so that it is seen."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return text if faithful(text) else json.dumps(value, indent=2)


def faithful(text: str) -> bool:
    """Whether a text field shows all of it and gives it back as it was."""
    return "\r" not in text and presenters.visible(text) == text


def _is_lines(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and _is_line(item) for item in value)


def _is_line(text: str) -> bool:
    return text != "" and text == text.strip() and "\n" not in text and faithful(text)


def _words(about: Shape, key: str, name: str) -> str:
    said = about.about.get(key)
    return said if isinstance(said, str) and said.casefold() != name.casefold() else ""


def _options(plain: Field, about: Shape) -> tuple[tuple[str, str], ...]:
    if plain.form != CHOICE:
        return ()
    known = {as_json(value): value if isinstance(value, str) else as_json(value) for value in about.choices}
    if plain.text and plain.text not in known:
        known = {plain.text: plain.text, **known}
    if not plain.required or not plain.text:
        known = {"": "choose" if plain.required else "left out", **known}
    return tuple(known.items())


def _type(plain: Field, about: Shape) -> str:
    """The type of an input: one whose own checks would stumble over what stands in it is plain."""
    kind = _TYPES.get(str(about.about.get("format")), "text")
    if plain.form != LINE or not plain.text:
        return kind
    if kind == "date":
        return kind if _is_date(plain.text) else "text"
    return kind if kind in _FITS and _FITS[kind].fullmatch(plain.text) else "text"


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _checks(plain: Field, about: Shape) -> dict[str, str]:
    found: dict[str, str] = {}
    if plain.form in (TEXT, LINE):
        found = _lengths(about.about)
        if plain.form == LINE and (pattern := _pattern(about.about)):
            found["pattern"] = pattern
    elif plain.form == NUMBER:
        found = _bounds(about.about, plain.text)
    empty_is_none = plain.form in (NUMBER, CHOICE, JSON) or "minlength" in found
    return {**found, "required": "required"} if plain.required and empty_is_none else found


def _lengths(about: Mapping[str, Any]) -> dict[str, str]:
    given = {"minlength": about.get("minLength"), "maxlength": about.get("maxLength")}
    return {name: str(int(size)) for name, size in given.items() if _number(size) and size > 0}


def _bounds(about: Mapping[str, Any], text: str) -> dict[str, str]:
    whole = about.get("type") == "integer"
    least, most = _least(about, whole), _most(about, whole)
    found = {name: as_json(edge) for name, edge in (("min", least), ("max", most)) if edge is not None}
    step = about.get("multipleOf")
    # A browser counts steps from `min` or from what stands in the field, JSON Schema from nought.
    bases = [base for base in (least, _whole(text)) if base is not None]
    if isinstance(step, int) and step > 0 and all(base % step == 0 for base in bases):
        return {**found, "step": str(step)}
    return {**found, "step": "1" if whole else "any"}


def _least(about: Mapping[str, Any], whole: bool) -> Any:
    least, over = about.get("minimum"), about.get("exclusiveMinimum")
    if not whole:
        return least if _number(least) else over if _number(over) else None
    edges = [math.ceil(least)] if _number(least) else []
    edges += [math.floor(over) + 1] if _number(over) else []
    return max(edges, default=None)


def _most(about: Mapping[str, Any], whole: bool) -> Any:
    most, under = about.get("maximum"), about.get("exclusiveMaximum")
    if not whole:
        return most if _number(most) else under if _number(under) else None
    edges = [math.floor(most)] if _number(most) else []
    edges += [math.ceil(under) - 1] if _number(under) else []
    return min(edges, default=None)


def _number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"-?\d{1,16}", text) else None


def _pattern(about: Mapping[str, Any]) -> str:
    """The schema's pattern as an input takes it, which anchors it by itself; empty where it might differ."""
    pattern = about.get("pattern")
    if not isinstance(pattern, str) or not _SAFE.fullmatch(pattern):
        return ""
    # Browsers want the hyphen at the end of a class escaped.
    closed = re.sub(r"(?<![\\-])-\]", r"\\-]", pattern[1:-1])
    return closed if len(_VARYING.findall(closed)) <= MOST_VARYING else ""
