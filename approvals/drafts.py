"""What a person had typed when it was refused: it comes back into its form, or is shown to be copied.

Into a form it comes back only for the arguments that the person saw. Where others have taken their place the
person has to look at those first, so that nothing is sent that was written about something else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from approvals import editing, reasons
from approvals.models import Action
from traces.problems import Refused

# By the name of the form: what of it is worth copying, and what people call it.
LABELS: Mapping[str, Mapping[str, str]] = {
    "approve": {},
    "reject": {"comment": "Why", "advice": "What it should do instead"},
    "edit": {"comment": "Why"},
    "ask": {"text": "Question"},
    "delegate": {"comment": "Why"},
}
TYPED = ("comment", "advice", "confirm", "text", "while", "for_minutes", "group", "to")
PARTS = {"reason": "comment"}  # a field that refusals call otherwise than forms do


@dataclass(frozen=True)
class Form:
    """The form to edit: its fields, or all arguments as JSON in `whole`; with what else was typed into it.

    `at` is the name of the field at fault and `why` what is wrong with it; without one `why` is about all.
    """

    fields: tuple[editing.Field, ...]
    whole: str
    as_json: bool
    said: Mapping[str, str] = field(default_factory=dict)
    at: str = ""
    why: str = ""


@dataclass(frozen=True)
class Kept:
    """One text to copy."""

    label: str
    text: str


@dataclass(frozen=True)
class Draft:
    """What was typed into a form (`form` is a key of LABELS) by the names of its fields, the name of the one
    at fault, and why.
    """

    form: str
    said: Mapping[str, str]
    at: str = ""
    why: str = ""
    edit: Form | None = None


def opened(action: Action) -> Form:
    """The form to edit, as nobody has touched it yet."""
    return Form(editing.fields(action.args, _schema(action)), editing.as_json(action.args), False)


def read(action: Action, post: Mapping[str, str]) -> dict[str, Any]:
    """The arguments that were sent. Raises Refused("invalid"), naming the one at fault."""
    return editing.read(post, action.args, _schema(action))


def turned(action: Action, post: Mapping[str, str], *, to_json: bool) -> Form:
    """The same draft the other way: fields as JSON, or JSON as fields. What cannot be read stays as it is."""
    try:
        args = read(action, post)
    except Refused as refused:
        return _edited(action, post, refused)
    drawn = editing.fields(args, _schema(action), stored=action.args)
    return Form(drawn, editing.as_json(args), to_json, _said(post))


def of(action: Action, form: str, post: Mapping[str, str], refused: Refused) -> Draft | None:
    """What was typed into this form of an action; None where it is none in which anything is typed."""
    if form not in LABELS:
        return None
    said, at = _said(post), _at(refused)
    edit = _edited(action, post, refused) if form == "edit" else None
    return Draft(form, said, at if at in said else "", refused.detail, edit)


def kept(action: Action, form: str, post: Mapping[str, str]) -> tuple[Kept, ...]:
    """The texts of a form to copy; of an edit what differs from the arguments that the person saw."""
    said = _said(post)
    texts = [
        Kept(label, said[name]) for name, label in LABELS.get(form, {}).items() if said.get(name, "").strip()
    ]
    return (*(_changed(action, post) if form == "edit" else ()), *texts)


def _said(post: Mapping[str, str]) -> dict[str, str]:
    return {name: _carried(post[name]) for name in TYPED if name in post}


def _carried(text: str) -> str:
    """As a page can show it: a form may hold what UTF-8 cannot carry."""
    return text.encode("utf-8", "replace").decode()


def _edited(action: Action, post: Mapping[str, str], refused: Refused) -> Form:
    sent = {name: _carried(text) for name, text in post.items()}
    argument, why = _place(refused)
    as_json = editing.ALL in post
    drawn = editing.redrawn(sent, action.args, _schema(action), {} if as_json else {argument: why})
    at = _at(refused)
    if as_json and argument is not None:
        at, why = editing.ALL, refused.detail
    elif argument in {each.name for each in drawn}:
        at = f"{editing.PREFIX}{argument}"
    whole = sent.get(editing.ALL, editing.as_json(action.args))
    return Form(drawn, whole, as_json, _said(post), at, why)


def _at(refused: Refused) -> str:
    """The name of the field at fault; empty where the refusal is about no field alone."""
    if "confirm" in refused.extra:
        return "confirm"
    named = str(refused.extra.get("field", ""))
    return PARTS.get(named, named)


def _place(refused: Refused) -> tuple[str | None, str]:
    """The argument at fault (None where it is none) and what is wrong, with the place inside of it."""
    path, why = refused.extra.get("path"), refused.extra.get("why")
    if not isinstance(path, str) or not isinstance(why, str):
        return None, refused.detail
    first, _, rest = path.removeprefix("/").partition("/")
    return first.replace("~1", "/").replace("~0", "~"), f"{rest}: {why}" if rest else why


def _changed(action: Action, post: Mapping[str, str]) -> tuple[Kept, ...]:
    if editing.ALL in post:
        return (Kept("All arguments", _carried(post[editing.ALL])),)
    seen = action.revisions.filter(digest=post.get("digest", "")).values_list("args_json", flat=True).first()
    args: dict[str, Any] = json.loads(seen) if seen else {}
    before = {each.name: each.text for each in editing.fields(args, _schema(action))}
    sent = {
        name.removeprefix(editing.PREFIX): _carried(text).replace("\r\n", "\n")
        for name, text in post.items() if name.startswith(editing.PREFIX)
    }  # fmt: skip
    return tuple(Kept(name, text) for name, text in sent.items() if text != before.get(name, ""))


def _schema(action: Action) -> Mapping[str, Any]:
    return reasons.tool_of(action).parameters
