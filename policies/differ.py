"""What changes between two releases: rule by rule, field by field, and which way each change leans.

Pure: two release contents in, a difference out. `stricter` and `same` are promises: no call passes more
easily. `looser` warns that a call may, and `either` says that it depends on the other rules or on the call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from policies import values
from policies.leaning import EITHER, LOOSER, SAME, STRICTER, Lean, joined, rule_field, rule_gone, tool_field
from policies.rules import RuleSpec, duration, sentence
from policies.textdiff import Piece, compared, written
from policies.tooling import ToolDef

__all__ = ["EITHER", "LOOSER", "SAME", "STRICTER", "Diff", "FieldChange", "ItemChange", "Lean", "compare"]

ADDED, REMOVED, CHANGED = "added", "removed", "changed"
_NAMED = ("groups", "detectors")


@dataclass(frozen=True)
class FieldChange:
    """One field, as a reader sees it before and after; `pieces` join the two (`=`, `-`, `+`)."""

    name: str
    before: str
    after: str
    lean: Lean
    pieces: tuple[Piece, ...]

    @property
    def long(self) -> bool:
        """Whether it wants a block of its own: a condition, a schema."""
        return max(len(self.before), len(self.after)) > 40 or "\n" in self.before + self.after


@dataclass(frozen=True)
class ItemChange:
    """One rule, tool, group or detector that was added, removed or changed.

    `before` and `after` read it aloud ("" where it was not there); `why` says what the change means.
    """

    kind: str
    name: str
    what: str
    lean: Lean
    why: str
    before: str = ""
    after: str = ""
    fields: tuple[FieldChange, ...] = ()

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """Both sentences in one."""
        return compared(self.before, self.after)

    @property
    def line(self) -> str:
        """The change in one line, as the log keeps it."""
        if self.what == CHANGED:
            return f"{self.kind} {self.name}: {', '.join(field.name for field in self.fields)} changed"
        if self.kind in ("group", "detector"):
            return f"{self.kind} {self.name}: {'now' if self.what == ADDED else 'no longer'} named"
        return f"{self.kind} {self.name}: {self.what}"

    def to_json(self) -> dict[str, Any]:
        fields = [
            {"name": each.name, "before": each.before, "after": each.after, "lean": each.lean}
            for each in self.fields
        ]
        return {**vars(self), "fields": fields}


@dataclass(frozen=True)
class Diff:
    """Everything that is different, rules first, each kind by name."""

    items: tuple[ItemChange, ...] = ()

    @property
    def lean(self) -> Lean:
        """Which way all changes lean together."""
        return joined(item.lean for item in self.items)

    @property
    def lines(self) -> list[str]:
        return [item.line for item in self.items]

    @property
    def counts(self) -> list[tuple[Lean, int]]:
        """How many changes lean which way, the ones to look at first; none that is zero."""
        found = [(lean, sum(item.lean == lean for item in self.items)) for lean in Lean]
        return [(lean, count) for lean, count in found if count]

    def to_json(self) -> dict[str, Any]:
        """JSON values, for those who read it with a program."""
        return {"lean": self.lean, "changes": [item.to_json() for item in self.items]}


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> Diff:
    """The difference of two release contents. Raises KeyError or TypeError for what is no release content."""
    found: list[ItemChange] = []
    for kind, one in (("rules", _rule), ("tools", _tool)):
        raw_old, raw_new = ({item["name"]: item for item in side[kind]} for side in (before, after))
        names = [name for name in sorted({*raw_old, *raw_new}) if raw_old.get(name) != raw_new.get(name)]
        for name in names:
            old, new = (_READ[kind](side[name]) if name in side else None for side in (raw_old, raw_new))
            if old != new:
                found.append(one(name, old, new))
    for kind in _NAMED:
        found += _named(kind[:-1], set(before[kind]), set(after[kind]))
    return Diff(tuple(found))


# Through the classes, so that a field that an older release does not know yet has its default.
_READ: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "rules": lambda stored: RuleSpec.from_json(stored).to_json(),
    "tools": lambda stored: values.normalise(ToolDef.from_json(stored).to_json(), max_depth=100),
}


def _rule(name: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> ItemChange:
    was, now = (RuleSpec.from_json(side) if side is not None else None for side in (old, new))
    said = _aloud(was), _aloud(now)
    if was is not None and now is not None:
        fields = tuple(_fields(old or {}, new or {}, lambda field: rule_field(field, was, now)))
        lean = rule_gone(was, now) or joined(field.lean for field in fields)
        return ItemChange("rule", name, CHANGED, lean, _rule_why(was, now, lean), *said, fields=fields)
    lean = rule_gone(was, now) or SAME
    what = ADDED if was is None else REMOVED
    return ItemChange("rule", name, what, lean, _rule_why(was, now, lean), *said)


def _aloud(rule: RuleSpec | None) -> str:
    """The rule's sentence, and what keeps it from holding."""
    if rule is None:
        return ""
    idle = [word for word, so in (("disabled", not rule.enabled), ("shadow", rule.mode != "live")) if so]
    return sentence(rule) + (f" ({', '.join(idle)})" if idle else "")


_ADDED_WHY = {
    "allow": "Calls that it fits may pass where they were asked about or blocked.",
    "block": "Calls that it fits are blocked from now on.",
    "ask": "Asks about calls that it fits: stricter where they passed, looser where nothing allowed them.",
}
_REMOVED_WHY = {
    "allow": "Calls that it let pass are left to the other rules.",
    "block": "Calls that it stopped are left to the other rules.",
    "ask": "Nobody is asked by it any more: looser where another rule allows, stricter where none does.",
}
_LEAN_WHY = {
    LOOSER: "More may pass than before.",
    STRICTER: "No call passes more easily than before.",
    EITHER: "Which way this goes depends on the call and the other rules.",
    SAME: "No verdict changes by this.",
}


def _rule_why(was: RuleSpec | None, now: RuleSpec | None, lean: Lean) -> str:
    holds = [rule is not None and rule.enabled and rule.mode == "live" for rule in (was, now)]
    if not any(holds):
        return "It does not hold (disabled or in shadow), so no verdict changes by this."
    if not holds[0] and now is not None:
        return _ADDED_WHY.get(now.effect, _LEAN_WHY[lean])
    if not holds[1] and was is not None:
        return _REMOVED_WHY.get(was.effect, _LEAN_WHY[lean])
    return _LEAN_WHY[lean]


def _tool(name: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> ItemChange:
    said = _tool_aloud(old), _tool_aloud(new)
    if old is None:
        why = (
            "From now on it is known: until now it counted as the worst there is, and no pattern allowed it."
        )
        return ItemChange("tool", name, ADDED, LOOSER, why, *said)
    if new is None:
        why = "It counts as unknown from now on: no pattern allows it, and its arguments are not checked."
        return ItemChange("tool", name, REMOVED, EITHER, why, *said)
    fields = tuple(_fields(old, new, lambda field: tool_field(field, old.get(field), new.get(field))))
    lean = joined(field.lean for field in fields)
    why = f"{_LEAN_WHY[lean]} Calls that wait under the old definition are cancelled when they start."
    return ItemChange("tool", name, CHANGED, lean, why, *said, fields=fields)


def _tool_aloud(tool: Mapping[str, Any] | None) -> str:
    if tool is None:
        return ""
    sends = "sends nothing out" if tool["sends"] == "none" else f"sends {tool['sends']}"
    return f"{tool['effect']}, {sends}, {tool['output']} output, runs: {tool['runs']}"


def _fields(old: Mapping[str, Any], new: Mapping[str, Any], lean: Any) -> Iterator[FieldChange]:
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            before, after = (_shown(name, side.get(name)) for side in (old, new))
            yield FieldChange(name, before, after, lean(name), compared(before, after))


def _shown(name: str, value: Any) -> str:
    if name == "expires_after" and isinstance(value, int):
        return duration(value)
    if name == "escalate":
        return ", ".join(f"after {duration(step['after'])} to {step['to']}" for step in value or ())
    if name == "egress":
        return "all that its tool lists" if value is None else ", ".join(value) or "nothing at all"
    if name == "separate_duties":
        return written(bool(value))
    return written(value)


def _named(kind: str, old: set[str], new: set[str]) -> Iterable[ItemChange]:
    if kind == "group":
        # They follow from the rules, which say what it means.
        said = dict.fromkeys((ADDED, REMOVED), (SAME, "The rules name it as an approver group, or no more."))
    else:
        said = {
            ADDED: (EITHER, "Rules that ask for findings may find more."),
            REMOVED: (LOOSER, "What it found is found no more."),
        }
    for name in sorted(old ^ new):
        what = ADDED if name in new else REMOVED
        yield ItemChange(kind, name, what, *said[what])
