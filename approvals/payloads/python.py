"""Python: coloured, and against the last script of this agent that ran with the same tool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from approvals.payloads.linediff import Diff, diff
from approvals.payloads.parts import Call, Drawing, Figure, Kind, Past, Wish

NAMES = ("code", "source", "script", "program")
_WORDS = frozenset(("python", "notebook", "jupyter", "ipython"))


@dataclass(frozen=True)
class Against:
    """A script compared with an earlier one; `at` and `action` are those of the earlier call."""

    name: str
    diff: Diff
    at: datetime
    action: str


def _fits(call: Call) -> bool:
    return call.context.runs == "python" or bool(call.words & _WORDS and call.text(NAMES))


def _wish(call: Call) -> Wish | None:
    return Wish() if call.text(NAMES) else None


def _draw(call: Call, past: Sequence[Past]) -> Drawing:
    name = call.text(NAMES)
    if not name:
        return Drawing()
    before = next((each for each in past if isinstance(each.args.get(name), str)), None)
    if before is None:
        first = (Figure("first", bool(past)),) if call.context.compares else ()
        return Drawing(first, NAMES, {name: "python"})
    against = Against(name, diff(before.args[name], call.args[name]), before.at, before.action)
    return Drawing((Figure("against", against),), NAMES, {name: "python"})


KIND = Kind("python", _fits, _draw, _wish)
