"""What every kind of payload is made of: a call, its leaves, the blocks and figures that are drawn. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from policies import lookalikes
from policies.lookalikes import Known, Trick

SHOWN_ITEMS = 12
SHOWN_ROWS = 100


@dataclass(frozen=True)
class Value:
    """One leaf: its text, where it came from, what the firewall found in it, which tricks it plays."""

    text: str
    origin: str = ""
    findings: tuple[Mapping[str, Any], ...] = ()
    tricks: tuple[Trick, ...] = ()

    @property
    def marks(self) -> tuple[Any, ...]:
        """Everything to mark in the text."""
        return (*self.findings, *self.tricks)


@dataclass(frozen=True)
class Code:
    """A text in a programming language: `runs` are (start, end, class) of what is coloured, in order.

    What stands between them is plain. `note` says where colouring ended, if it did before the end.
    """

    value: Value
    language: str
    runs: tuple[tuple[int, int, str], ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Node:
    """A nested value with its labels: `children` of an object or list, else `value`."""

    label: str
    note: str = ""
    value: Value | None = None
    children: tuple[Node, ...] = ()
    listed: bool = False


@dataclass(frozen=True)
class Block:
    """One argument. `form` is how it is drawn: value, text, program, values, table, file, tree or json.

    `title` and `note` are what the tool's schema calls it. `fold` says why it is folded away, where a figure
    above shows the same in a better form; empty for a block that stands open.
    """

    name: str
    form: str
    value: Value = Value("")
    values: tuple[Value, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Value, ...], ...] = ()
    code: Code | None = None
    tree: Node | None = None
    authority: bool = False
    size: str = ""
    title: str = ""
    note: str = ""
    fold: str = ""
    tricks: tuple[Trick, ...] = ()
    figures: tuple[Any, ...] = ()

    @property
    def first(self) -> tuple[Value, ...]:
        return self.values[:SHOWN_ITEMS]

    @property
    def rest(self) -> tuple[Value, ...]:
        return self.values[SHOWN_ITEMS:]

    @property
    def first_rows(self) -> tuple[tuple[Value, ...], ...]:
        return self.rows[:SHOWN_ROWS]

    @property
    def rest_rows(self) -> tuple[tuple[Value, ...], ...]:
        return self.rows[SHOWN_ROWS:]


@dataclass(frozen=True)
class Context:
    """What is known of the arguments beside their values; paths are JSON Pointers less the first slash.

    `preview` is the kind that the tool's definition names, "" where it names none; `argv` the command line
    that it fixes; `known` the domains that a reader would take others for. `compares` is off where nothing
    may be said of earlier calls, not even that there was none.
    """

    runs: str
    authority: frozenset[str] = frozenset()
    origins: Mapping[str, str] = field(default_factory=dict)
    findings: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    tool: str = ""
    labels: tuple[str, ...] = ()
    schema: Mapping[str, Any] = field(default_factory=dict)
    preview: str = ""
    argv: tuple[str, ...] = ()
    known: Known = Known()
    compares: bool = True


@dataclass(frozen=True)
class Call:
    """What an agent wants to do, as far as drawing it needs."""

    args: Mapping[str, Any]
    context: Context

    @property
    def words(self) -> frozenset[str]:
        """The words of the tool's name, and its labels, in lower case."""
        spaced = "".join(
            c if c.isalnum() else " " for c in f"{self.context.tool} {' '.join(self.context.labels)}"
        )
        return frozenset(spaced.lower().split())

    def text(self, names: Iterable[str]) -> str:
        """The first of these arguments that is there as a text: its name; "" if none is."""
        return next((name for name in names if isinstance(self.args.get(name), str)), "")

    def named(self, names: Iterable[str]) -> str:
        """The first of these arguments that is there and holds something: its name; "" if none does."""
        return next((name for name in names if self.args.get(name) not in (None, "", [], {})), "")


@dataclass(frozen=True)
class Past:
    """An earlier call of this tool by this agent that was started; `hidden`: not this reader's to see, so
    without its arguments. `done`: it ended well.
    """

    action: str
    at: datetime
    args: Mapping[str, Any]
    hidden: bool = False
    done: bool = True


@dataclass(frozen=True)
class Wish:
    """Which earlier calls a kind wants to compare with: those that hold all these texts, the newest first."""

    holding: tuple[str, ...] = ()
    most: int = 1


@dataclass(frozen=True)
class Figure:
    """Something drawn above the arguments, or above the one that it is `about`: `form` names its partial,
    `data` is what that shows.
    """

    form: str
    data: Any
    about: str = ""

    @property
    def template(self) -> str:
        return f"approvals/payload/{self.form}.html"


@dataclass(frozen=True)
class Drawing:
    """How one call is drawn: figures, then the arguments in `order` (others follow by name).

    `programs` names the language of an argument, `folds` says why an argument is folded away.
    """

    figures: tuple[Figure, ...] = ()
    order: tuple[str, ...] = ()
    programs: Mapping[str, str] = field(default_factory=dict)
    folds: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """One kind of payload. `wish` may be None: then `draw` is given no earlier calls."""

    name: str
    fits: Callable[[Call], bool]
    draw: Callable[[Call, Sequence[Past]], Drawing]
    wish: Callable[[Call], Wish | None] = lambda call: None


def raw(args: Any) -> str:
    """The whole of the arguments as indented JSON; non-ASCII stays itself so that it can be read."""
    return json.dumps(args, indent=2, ensure_ascii=False)


def index_findings(findings: Iterable[Mapping[str, Any]]) -> dict[str, tuple[Mapping[str, Any], ...]]:
    """Findings by the path of the text they were made in."""
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for finding in findings:
        grouped.setdefault(str(finding.get("path", "")).lstrip("/"), []).append(finding)
    return {path: tuple(found) for path, found in grouped.items()}


def escape(key: str) -> str:
    """One step of a JSON Pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every leaf below a path, in order."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from leaves(item, f"{path}/{escape(str(key))}")
    elif isinstance(value, list) and value:
        for place, item in enumerate(value):
            yield from leaves(item, f"{path}/{place}")
    else:
        yield path, value


def plain(value: Any) -> str:
    """A leaf as text; a text stays as it is, everything else is JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def leaf(value: Any, path: str, context: Context) -> Value:
    """One leaf with everything that is known of it."""
    text = plain(value)
    tricks = lookalikes.tricks(text, context.known) if isinstance(value, str) else ()
    return Value(text, context.origins.get(path, ""), context.findings.get(path, ()), tricks)


def many(count: int, what: str) -> str:
    """ "1,200 rows", "1 row"."""
    return f"{count:,} {what}" + ("s" if count != 1 else "")


def size(text: str) -> str:
    lines = text.count("\n") + 1
    return many(len(text), "character") + (f", {lines:,} lines" if lines > 1 else "")
