"""What a field of a world file takes: one reader a kind of value, and why it refuses what it refuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

from policies import destinations, yamlfile
from policies.arguments import ArgumentsRefused, check_schema, normalise
from policies.models import NAME
from policies.yamlfile import Node, YamlRefused

_NAME = re.compile(NAME.regex)
_GROUP = re.compile(r"\w[\w .@&-]{0,148}\w|\w")
_LABEL = re.compile(r"[a-z][a-z0-9_:.-]{0,49}")
_GLOB = re.compile(r"[a-zA-Z0-9._@*?-]{1,100}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_LINE = re.compile(r"[\x20-\x7e]*")
_SPAN = re.compile(r"(?:[0-9]{1,9}[dhms]){1,4}")
_SUM = re.compile(r"[0-9]{1,30}(\.[0-9]{1,6})?")
_PART = re.compile(r"([0-9]+)([dhms])")
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
RETURNS = ("private", "secret")
ORIGINS = ("user", "named", "trusted", "agent", "untrusted", "reviewer")
LIMITS = ("actions_per_minute", "actions_per_day", "pending")
MAX_COUNT = 1_000_000
MAX_DEPTH = yamlfile.MAX_DEPTH - 4  # what stands around a field takes a few levels


Reader = Callable[[Node], Any]


class Wrong(Exception):
    def __init__(self, why: str, node: Node, below: str = "") -> None:
        super().__init__(why)
        self.why, self.line, self.below = why, node.line, below


def read_text(
    node: Node, *, longest: int = 20_000, form: re.Pattern[str] | None = None, what: str = ""
) -> str:
    if isinstance(node.value, dict | list):
        raise Wrong("must be a text", node)
    if node.doubt or not isinstance(node.value, str):
        raise Wrong(node.doubt or f"must be a text: quote it ('{node.text}')", node)
    if len(node.value) > longest:
        raise Wrong(f"has {len(node.value)} characters, at most {longest} are taken", node)
    if "\x00" in node.value or any("\ud800" <= sign <= "\udfff" for sign in node.value):
        raise Wrong("holds a NUL or a lone surrogate", node)
    if form is not None and not form.fullmatch(node.value):
        raise Wrong(f"{node.value[:80]!r} is not {what}", node)
    return node.value


def read_choice(node: Node, *, of: tuple[str, ...]) -> str:
    chosen = read_text(node)
    if chosen not in of:
        raise Wrong(f"{chosen[:80]!r} is not one of {', '.join(of)}", node)
    return chosen


def read_list(node: Node, *, of: Reader) -> list[Any]:
    if not isinstance(node.value, list):
        raise Wrong("must be a list", node)
    found = []
    for at, item in enumerate(node.value):
        try:
            found.append(of(item))
        except Wrong as wrong:
            raise Wrong(wrong.why, item, f"[{at}]{wrong.below}") from None
    return found


def read_flag(node: Node) -> bool:
    if not isinstance(node.value, bool):
        raise Wrong("must be true or false", node)
    return node.value


def read_count(node: Node, *, least: int = 0, most: int = MAX_COUNT) -> int:
    if isinstance(node.value, bool) or not isinstance(node.value, int) or not least <= node.value <= most:
        raise Wrong(f"must be a whole number from {least} to {most}", node)
    return node.value


def read_money(node: Node) -> Decimal:
    if isinstance(node.value, bool) or not _SUM.fullmatch(node.text):
        raise Wrong("must be a number from 0, such as 500 or 99.50", node)
    return Decimal(node.text)


def seconds(text: str) -> int:
    """The seconds that a time such as 45s, 15m or 1h30m stands for. Raises ValueError."""
    if not _SPAN.fullmatch(text):
        raise ValueError("must be a time with its unit, such as 45s, 15m, 2h or 1d")
    return sum(int(count) * _SECONDS[unit] for count, unit in _PART.findall(text))


def read_duration(node: Node) -> int:
    try:
        return seconds(node.text)
    except ValueError as error:
        raise Wrong(str(error), node) from None


def read_moment(node: Node) -> datetime:
    try:
        moment = datetime.fromisoformat(node.text)
    except ValueError:
        raise Wrong("must be a moment such as 2030-12-31T18:00:00Z", node) from None
    if moment.tzinfo is None:
        raise Wrong("must carry its time zone, for example a Z at its end", node)
    return moment.astimezone(UTC)


def read_json(node: Node, *, mapping: bool = False) -> Any:
    if mapping and not isinstance(node.value, dict):
        raise Wrong("must be a mapping", node)
    try:
        value = normalise(yamlfile.unfold(node), max_depth=MAX_DEPTH)
    except YamlRefused as refused:
        raise Wrong(refused.why, Node(None, refused.line)) from None
    except ArgumentsRefused as refused:
        raise Wrong(refused.detail, node) from None
    if _holds_nul(value):
        raise Wrong("holds a NUL", node)
    return value


def _holds_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return any("\x00" in key or _holds_nul(item) for key, item in value.items())
    if isinstance(value, list):
        return any(map(_holds_nul, value))
    return isinstance(value, str) and "\x00" in value


def read_schema(node: Node) -> Any:
    schema = read_json(node, mapping=True)
    try:
        check_schema(schema)
    except ArgumentsRefused as refused:
        raise Wrong(refused.why, node, refused.path.replace("/", ".")) from None
    return schema


def read_limits(node: Node) -> dict[str, int]:
    if not isinstance(node.value, dict):
        raise Wrong(f"must be a mapping of {', '.join(LIMITS)}", node)
    found = {}
    for key, item in node.value.items():
        if key not in LIMITS:
            raise Wrong(f"is not a limit; there are {', '.join(LIMITS)}", item, f".{key}")
        try:
            found[key] = read_count(item)
        except Wrong as wrong:
            raise Wrong(wrong.why, item, f".{key}") from None
    return found


def read_origins(node: Node) -> dict[str, str]:
    if not isinstance(node.value, dict):
        raise Wrong("must be a mapping of argument and origin", node)
    return {key: read_choice(item, of=ORIGINS) for key, item in node.value.items()}


def read_session(node: Node) -> dict[str, Any]:
    """What a case says of its session besides the labels: what it was opened for, and what came before."""
    if not isinstance(node.value, dict):
        raise Wrong(f"must be a mapping of {', '.join(SESSION)}", node)
    found = {}
    for key, item in node.value.items():
        if key not in SESSION:
            raise Wrong(f"is not a fact of a session; there are {', '.join(SESSION)}", item, f".{key}")
        try:
            found[key] = SESSION[key](item)
        except Wrong as wrong:
            raise Wrong(wrong.why, item, f".{key}{wrong.below}") from None
    return found


def read_approvers(node: Node) -> str:
    text = read_text(node, longest=150)
    if text != "@user" and not _GROUP.fullmatch(text):
        raise Wrong(f"{text[:80]!r} is neither a group nor @user", node)
    return text


def read_destination(node: Node) -> str:
    text = read_text(node, longest=destinations.LONGEST)
    try:
        return destinations.parse(text).text
    except ValueError as error:
        raise Wrong(str(error), node) from None


def read_egress(node: Node) -> list[str]:
    lines = read_list(node, of=read_destination)
    if len(lines) > destinations.MOST:
        raise Wrong(f"has {len(lines)} destinations, at most {destinations.MOST} are taken", node)
    return lines


def read_headers(node: Node) -> dict[str, str]:
    if not isinstance(node.value, dict):
        raise Wrong("must be a mapping of header and text", node)
    for name in node.value:
        if not _HEADER.fullmatch(name):
            raise Wrong(f"{name[:80]!r} is no name of a header", node)
    return {
        name: read_text(item, longest=4000, form=_LINE, what="one line") for name, item in node.value.items()
    }


def read_step(node: Node) -> dict[str, Any]:
    if not isinstance(node.value, dict) or set(node.value) != {"after", "to"}:
        raise Wrong("must be a mapping of after and to, such as {after: 10m, to: leads}", node)
    return {"after": read_duration(node.value["after"]), "to": read_group(node.value["to"])}


def read_steps(node: Node) -> list[dict[str, Any]]:
    return sorted(read_list(node, of=read_step), key=lambda step: (step["after"], step["to"]))


read_name = partial(read_text, form=_NAME, what="a name: letters, digits and . _ @ - only, at most 100")
read_group = partial(read_text, longest=150, form=_GROUP, what="a group's name")
read_labels = partial(
    read_list, of=partial(read_text, form=_LABEL, what="a label: lower-case letters, digits and _ : . -")
)
read_glob = partial(read_text, form=_GLOB, what="a name or a pattern with * and ?")
read_globs = partial(read_list, of=read_glob)
read_words = partial(read_list, of=partial(read_text, longest=100))
read_texts = partial(read_list, of=read_text)
read_short = partial(read_text, longest=500)


def read_choices(values: list[str]) -> Reader:
    return partial(read_choice, of=tuple(values))


SESSION: dict[str, Reader] = {
    "purpose": partial(read_text, longest=2000),
    "tools": read_globs,
    "read": partial(read_list, of=read_name),
    "did": partial(read_list, of=read_name),
    "last": read_name,
    "user": partial(read_text, longest=150),
    "attested": read_flag,
    "age": read_count,
    "calls": read_count,
}
