"""Shell: the command line coloured, and the vector with each argument by itself."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from approvals.executors import shell as executor
from approvals.executors.base import NotRunnable
from approvals.payloads.parts import Call, Drawing, Figure, Kind, Past, Value, leaf

NAMES = ("command", "cmd", "script", "source", "command_line")
VECTORS = ("argv", "args", "command", "cmd")
_WORDS = frozenset(("shell", "bash", "sh", "zsh", "terminal", "exec", "command", "powershell"))


@dataclass(frozen=True)
class Vector:
    """What runs, item by item; `whole` is the same as one line that a POSIX shell would read back."""

    items: tuple[Value, ...]
    whole: str
    shell: bool


def _fits(call: Call) -> bool:
    if call.context.runs == "shell":
        return True
    return bool(call.words & _WORDS and (call.text(NAMES) or _given(call)))


def _draw(call: Call, past: Sequence[Past]) -> Drawing:
    name = call.text(NAMES)
    items = _items(call)
    figures = (Figure("vector", _vector(items, call)),) if items else ()
    return Drawing(figures, (*NAMES, *VECTORS), {name: "shell"} if name else {})


def _items(call: Call) -> list[str]:
    """The vector that the tool's definition fixes, filled as it will run, or the one that is given."""
    try:
        fixed = [executor.filled(item, call.args) for item in call.context.argv]
    except NotRunnable:
        return []
    given = _given(call)
    return fixed or (call.args[given] if given else [])


def _given(call: Call) -> str:
    for name in VECTORS:
        value = call.args.get(name)
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            return name
    return ""


def _vector(items: Sequence[str], call: Call) -> Vector:
    values = tuple(leaf(item, "", call.context) for item in items)
    through = (
        len(items) > 2 and items[1] in ("-c", "-lc", "-ec") and items[0].rpartition("/")[2].endswith("sh")
    )
    return Vector(values, shlex.join(items), through)


KIND = Kind("shell", _fits, _draw)
