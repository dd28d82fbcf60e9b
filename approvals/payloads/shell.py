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
LONGEST_LINE = 1_000
# Also what hands its arguments to one.
_SHELLS = frozenset(
    ("sh", "ash", "bash", "dash", "fish", "ksh", "zsh", "csh", "tcsh", "busybox", "cmd", "powershell", "pwsh",
     "ssh", "su", "eval", "script", "watch", "parallel")
)  # fmt: skip
_SCRIPT = ("-c", "-lc", "-ec")
_OPERATORS = frozenset("();<>|&")
_WORDS = frozenset(("shell", "bash", "sh", "zsh", "terminal", "exec", "command", "powershell"))


@dataclass(frozen=True)
class Vector:
    """A command item by item, and what is to be said of that. `signs` are where a shell's operators stand."""

    items: tuple[Value, ...]
    said: str
    signs: frozenset[int] = frozenset()


def _fits(call: Call) -> bool:
    if call.context.runs == "shell":
        return True
    return bool(call.words & _WORDS and (call.text(NAMES) or _given(call)))


def _draw(call: Call, past: Sequence[Past]) -> Drawing:
    name = call.text(NAMES)
    found = _vector(_items(call), call) or (_split(call.args[name], call) if name else None)
    figures = (Figure("vector", found),) if found else ()
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


def _vector(items: Sequence[str], call: Call) -> Vector | None:
    if not items:
        return None
    values = tuple(leaf(item, "", call.context) for item in items)
    return Vector(values, f"What runs, item by item; {_reader(items)}.")


def _reader(items: Sequence[str]) -> str:
    """Whether a shell takes some of it as a script, as far as names tell."""
    names = [item.replace("\\", "/").rpartition("/")[2].lower().removesuffix(".exe") for item in items]
    if len(items) > 2 and items[1] in _SCRIPT and names[0] in _SHELLS:
        return "a shell reads the third one"
    return "a shell may read parts of it" if _SHELLS & set(names) else "no shell reads it"


def _split(line: str, call: Call) -> Vector | None:
    """A short command line in words, as a POSIX shell splits it; None for a script."""
    if "\n" in line.strip() or len(line) > LONGEST_LINE:
        return None
    reader = shlex.shlex(line, posix=True, punctuation_chars=True)
    reader.whitespace_split, reader.commenters = True, ""
    try:
        words = list(reader)
    except ValueError as wrong:
        return Vector((), f"A shell would not read this line to its end ({wrong}).")
    signs = frozenset(at for at, word in enumerate(words) if word and set(word) <= _OPERATORS)
    values = tuple(leaf(word, "", call.context) for word in words)
    return Vector(values, "Its words, as a POSIX shell splits them before it expands anything.", signs)


KIND = Kind("shell", _fits, _draw)
