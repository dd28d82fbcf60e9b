"""Why a call was judged as it was: every rule that was considered, what came of it, and the values it saw."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from approvals.models import Action
from policies import celpieces, engine
from policies.facts import FACTS, FUNCTIONS, Facts
from policies.models import Release
from policies.rules import RuleSpec, sentence
from policies.verdict import ALLOWANCE, Verdict
from traces import payloads

LOOKS = {"block": "danger", "ask": "wait", "allow": "ok"}
OUTCOMES = {
    "matched": "It applies.",
    "no match": "Its condition is not met.",
    "error": "Its condition failed.",
    "ended": "It had ended.",
    "not needed": "A fallback: not asked, since another rule applies.",
}
_TEXT = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'')
_ROOTS = "|".join(sorted({fact.name.partition(".")[0] for fact in FACTS}))
_NAMED = re.compile(rf"(?<![\w.])(?:{_ROOTS})(?:\s*\.\s*[A-Za-z_]\w*(?!\w*\s*\())*")
_FUNCTIONS = ("size", *(function.name for function in FUNCTIONS))
_ABSENT = object()


@dataclass(frozen=True)
class Saw:
    """A value that a condition names, to show and as it is. `there` is False where there is no such value."""

    name: str
    value: payloads.Node
    there: bool
    plain: Any = None


@dataclass(frozen=True)
class Part:
    """A piece of a condition and what it says by itself: true, false or neither, and then why."""

    text: str
    said: str
    why: str = ""


@dataclass(frozen=True)
class Elsewhere:
    """A rule of the release that was not asked, and why not."""

    name: str
    effect: str
    why: str


@dataclass(frozen=True)
class Line:
    """One rule: what it says, what came of it, and what it saw. `parts` are its condition piece by piece."""

    name: str
    effect: str
    outcome: str
    why: str
    text: str = ""
    condition: str = ""
    error: str = ""
    shadow: bool = False
    saw: tuple[Saw, ...] = ()
    parts: tuple[Part, ...] = ()

    @property
    def idle(self) -> bool:
        """Whether it did nothing: such rules stand below the others, and folded."""
        return self.outcome not in ("matched", "error")

    @property
    def look(self) -> str:
        """The colour of what it did: that of its effect where it counted, none where it did not."""
        counted = self.outcome == "matched" or (self.outcome == "error" and self.effect != "allow")
        return LOOKS[self.effect] if counted and not self.shadow else "muted"


@dataclass(frozen=True)
class Explained:
    """A verdict with its lines; `elsewhere` are the release's rules that were not asked."""

    verdict: Verdict
    lines: tuple[Line, ...]
    elsewhere: tuple[Elsewhere, ...]
    facts: payloads.Node

    @property
    def weightiest(self) -> list[Line]:
        """The lines for a reader: what applied or failed first, each part in the order of the release."""
        return sorted(self.lines, key=lambda line: line.idle)

    @property
    def look(self) -> str:
        return LOOKS[self.verdict.effect]


def of_action(action: Action) -> Explained:
    """The verdict on the action's current revision, by the rules of the release that gave it."""
    verdict = Verdict.from_json(action.verdict)
    content = Release.objects.filter(digest=verdict.release).values_list("content", flat=True).first()
    stored = json.loads(content)["rules"] if content else []
    return explain(verdict, [RuleSpec.from_json(rule) for rule in stored], json.loads(action.facts_json))


def explain(verdict: Verdict, rules: Sequence[RuleSpec], facts: Mapping[str, Any]) -> Explained:
    """`facts` are what `Facts.to_json` gives, `rules` those of the release that judged."""
    known = {rule.name: rule for rule in rules}
    considered = {item.name for item in verdict.considered}
    seen = _read(facts)
    elsewhere = tuple(
        Elsewhere(rule.name, rule.effect, _why_not(rule, facts))
        for rule in rules
        if rule.name not in considered
    )
    lines = (*_built_in(verdict), *_lines(verdict, known, facts, seen))
    return Explained(verdict, lines, elsewhere, payloads.tree(facts))


def _read(facts: Mapping[str, Any]) -> Facts | None:
    """None for facts of a shape that this version does not store: what they hold can still be shown."""
    try:
        return Facts.from_json(facts)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _why_not(rule: RuleSpec, facts: Mapping[str, Any]) -> str:
    """Why a rule was not asked about a call."""
    agent, tool = facts.get("agent", {}).get("name", ""), facts.get("tool", {})
    if not rule.enabled:
        return "It is switched off."
    if not engine.fits(rule.agents, agent):
        return f"It is about other agents: {', '.join(rule.agents)}."
    if not engine.fits(rule.tools, tool.get("name", "")):
        return f"It is about other tools: {', '.join(rule.tools)}."
    if rule.effect == "allow" and not tool.get("declared"):
        return "It names this tool by a pattern at most, which allows nothing that nobody declared."
    return "It was not asked."


def values_seen(condition: str, facts: Mapping[str, Any]) -> tuple[Saw, ...]:
    """Each fact that a condition names, with its value in these facts."""
    bare = _TEXT.sub("''", condition)
    names = dict.fromkeys(re.sub(r"\s", "", found.group()) for found in _NAMED.finditer(bare))
    return tuple(_saw(name, facts) for name in names)


def worked_out(condition: str, seen: Facts) -> tuple[tuple[Part, ...], tuple[Saw, ...]]:
    """The pieces of a condition with what each says, where it has several, and what its functions give."""
    pieces = celpieces.parts(condition)
    if len(pieces) < 2:
        pieces = []
    try:
        parts = tuple(_said(*item) for item in engine.work_out(pieces, seen))
        given = engine.work_out(celpieces.calls(condition, _FUNCTIONS), seen)
        return parts, tuple(Saw(text, payloads.tree(value), not error, value) for text, value, error in given)
    except engine.UNREADABLE:
        return (), ()


def _said(text: str, value: Any, error: str) -> Part:
    if isinstance(value, bool) and not error:
        return Part(text, str(value).lower())
    return Part(text, "neither", error or f"It gives {value!r:.100}.")


def _built_in(verdict: Verdict) -> Iterator[Line]:
    for match in verdict.matched:
        if match.rule_id.startswith("built-in:"):
            yield Line(match.name, match.effect, "matched", match.why, text="Built in: no rule loosens it.")
        elif match.rule_id.startswith(ALLOWANCE):
            told = "Not a rule of the release: a reviewer's answer in advance, which ends by itself."
            yield Line(match.name, match.effect, "matched", match.why, text=told)


def _lines(
    verdict: Verdict, known: Mapping[str, RuleSpec], facts: Mapping[str, Any], seen: Facts | None
) -> Iterator[Line]:
    for item in verdict.considered:
        rule = known.get(item.name)
        parts, given = worked_out(rule.when, seen) if rule and seen else ((), ())
        yield Line(
            name=item.name, effect=item.effect, outcome=item.outcome, error=item.why,
            why=_why(item.outcome, item.effect),
            text=sentence(rule) if rule else "", condition=rule.when.strip() if rule else "",
            shadow=rule is not None and rule.mode == "shadow",
            saw=(*values_seen(rule.when, facts), *given) if rule else (), parts=parts,
        )  # fmt: skip


def _why(outcome: str, effect: str) -> str:
    said = OUTCOMES.get(outcome, outcome)
    if outcome == "error":
        return said + (" An allow then does not count." if effect == "allow" else " That counts as a match.")
    return said


def _saw(name: str, facts: Mapping[str, Any]) -> Saw:
    value: Any = facts
    for step in name.split("."):
        value = value.get(step, _ABSENT) if isinstance(value, Mapping) else _ABSENT
    there = value is not _ABSENT
    plain = value if there else None
    return Saw(name, payloads.tree(plain), there, plain)
