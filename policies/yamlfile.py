"""YAML read strictly: every value keeps its line, and whatever two readers would read differently is refused.

YAML 1.1 reads `no` as false, `0777` as 511 and `1:30` as 90, and YAML 1.2 does not. Here a plain word is JSON
(null, true, false, a number) or a text; what only one of the two versions calls a text has to be quoted.
Duplicate keys, tags, merge keys, several documents and invisible direction marks are refused; aliases are
taken, but a file that unfolds beyond MAX_NODES is not.

https://yaml.org/spec/1.2.2/ and https://yaml.org/type/
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from policies.values import MAX_SAFE_INTEGER

MAX_BYTES = 4 << 20
MAX_NODES = 200_000
MAX_DEPTH = 64
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
# YAML 1.1's other booleans, nulls and numbers: signs, octal, hexadecimal, binary, base 60, _ and bare dots.
_DOUBTFUL = re.compile(
    r"(?i:yes|no|on|off|~|null|true|false|=)"
    r"|[-+]?\.(?i:inf|nan)"
    r"|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"
    r"|[-+]?0[xob][0-9a-fA-F_]+|[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?|[-+]?\.[0-9_]+(?:[eE][-+]?[0-9]+)?"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
# Marks of direction, and what YAML 1.1 alone takes for the end of a line.
_HIDDEN = re.compile(
    "[\x85\u2028\u2029\ufeff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]"
)


class YamlRefused(Exception):
    """The file cannot be read; `line` from 1, 0 where there is none."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}" if line else why)
        self.line = line
        self.why = why


@dataclass(frozen=True)
class Node:
    """A value of the file: dict of Nodes, list of Nodes, or a JSON scalar; `line` from 1.

    `text` is a scalar as it is written, `doubt` what is wrong with it as a value ("" if nothing).
    """

    value: Any
    line: int
    size: int = 1
    text: str = ""
    doubt: str = ""


def load(text: str) -> Node:
    """The one document of a file. Raises YamlRefused naming the line."""
    text = text.removeprefix("\ufeff")
    _refuse_text(text)
    try:
        return _Builder(yaml.parse(text, Loader=_LOADER)).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        hint = (
            "; quote a text that begins with @ or `" if "cannot start any token" in str(error.problem) else ""
        )
        raise YamlRefused(mark.line + 1 if mark else 0, f"{error.problem}{hint}") from None
    except yaml.YAMLError as error:
        raise YamlRefused(0, " ".join(str(error).split())) from None


def plain(text: str) -> tuple[Any, str]:
    """What a plain (unquoted) word means, and what is doubtful about it, "" if nothing."""
    if text in ("null", "true", "false"):
        return json.loads(text), ""
    if text == "":
        return None, 'is empty: write null or ""'
    if _NUMBER.fullmatch(text):
        return _number(text)
    if text == "<<":
        return text, "merge keys (<<) are not taken"
    if _DOUBTFUL.fullmatch(text):
        return (
            text,
            f"{text!r} is read differently by different YAML readers: quote it, or write it as in JSON",
        )
    return text, ""


def hides(text: str) -> bool:
    """Whether it holds signs that a world file only takes as escapes."""
    return _HIDDEN.search(text) is not None


def unfold(node: Node) -> Any:
    """The node as plain JSON values. Raises YamlRefused for the first doubtful one."""
    if isinstance(node.value, dict):
        return {key: unfold(item) for key, item in node.value.items()}
    if isinstance(node.value, list):
        return [unfold(item) for item in node.value]
    if node.doubt:
        raise YamlRefused(node.line, node.doubt)
    return node.value


def _number(text: str) -> tuple[Any, str]:
    # Seventeen digits hold every safe integer, and a float of more than 400 says nothing but "too large".
    value = json.loads(text) if len(text) <= 400 else float("inf")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value != value or abs(value) > MAX_SAFE_INTEGER:
        return text, "is a number beyond ±(2^53−1)"
    return value, ""


def _refuse_text(text: str) -> None:
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise YamlRefused(0, f"the file is larger than {MAX_BYTES >> 20} MiB")
    for number, line in enumerate(text.split("\n"), 1):
        hidden = _HIDDEN.search(line)
        if hidden:
            sign = f"U+{ord(hidden.group()):04X}"
            raise YamlRefused(
                number, f'holds the invisible character {sign}: write it as an escape within ""'
            )
        if _SURROGATE.search(line):
            raise YamlRefused(number, "is not valid Unicode")


class _Builder:
    """Nodes from the parser's events; the parser itself does not recurse, and this does to MAX_DEPTH."""

    def __init__(self, events: Iterator[Any]) -> None:
        self.events: Iterator[Any] = events
        self.anchors: dict[str, Node] = {}
        self.size = 0

    def document(self) -> Node:
        node = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if node is not None:
                    raise YamlRefused(_line(event), "holds more than one document")
                node = self.node(next(self.events), 0)
        if node is None:
            raise YamlRefused(0, "the file is empty")
        return node

    def node(self, event: Any, depth: int) -> Node:
        line = _line(event)
        if isinstance(event, yaml.AliasEvent):
            return self.counted(self.alias(str(event.anchor), line), line)
        if event.tag is not None:
            raise YamlRefused(line, "tags (!) are not taken")
        if depth > MAX_DEPTH:
            raise YamlRefused(line, f"is nested more than {MAX_DEPTH} levels deep")
        node = self.counted(self.built(event, line, depth), line, own=1)
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def built(self, event: Any, line: int, depth: int) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event, line)
        if isinstance(event, yaml.SequenceStartEvent):
            items = list(self.items(yaml.SequenceEndEvent, depth))
            return Node(items, line, 1 + sum(item.size for item in items))
        return self.mapping(line, depth)

    def items(self, end: type, depth: int) -> Iterator[Node]:
        for event in self.events:
            if isinstance(event, end):
                return
            yield self.node(event, depth + 1)

    def mapping(self, line: int, depth: int) -> Node:
        found: dict[str, Node] = {}
        pairs = self.items(yaml.MappingEndEvent, depth)
        for key in pairs:
            name = _key(key)
            if name in found:
                raise YamlRefused(
                    key.line, f"the key {name!r} stands twice (first on line {found[name].line})"
                )
            found[name] = next(pairs)
        return Node(found, line, 1 + sum(item.size for item in found.values()))

    def alias(self, anchor: str, line: int) -> Node:
        # A node is known once it is complete, so none can hold itself.
        if anchor not in self.anchors:
            raise YamlRefused(line, f"the alias *{anchor} stands within what it names, or names nothing")
        return self.anchors[anchor]

    def counted(self, node: Node, line: int, own: int = 0) -> Node:
        self.size += own or node.size
        if self.size > MAX_NODES or node.size > MAX_NODES:
            raise YamlRefused(line, f"unfolds to more than {MAX_NODES} values")
        return node


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _scalar(event: Any, line: int) -> Node:
    if event.style:
        return Node(event.value, line, text=event.value)
    value, doubt = plain(event.value)
    return Node(value, line, text=event.value, doubt=doubt)


def _key(node: Node) -> str:
    if isinstance(node.value, dict | list):
        raise YamlRefused(node.line, "a key is a word, not a list or a mapping")
    if node.text == "<<" and node.doubt:
        raise YamlRefused(node.line, node.doubt)
    # A key is always a text, so a property may be called `on` or `no` and means just that.
    return node.text
