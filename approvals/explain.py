"""Why a call was judged as it was: every rule that was considered, what came of it, and the values it saw."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from approvals.models import Action
from policies.facts import FACTS
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
_ABSENT = object()


@dataclass(frozen=True)
class Saw:
    """A value that a condition names. `there` is False where the call has no such value."""

    name: str
    value: payloads.Node
    there: bool


@dataclass(frozen=True)
class Line:
    """One rule: what it says, what came of it, and what it saw."""

    name: str
    effect: str
    outcome: str
    why: str
    text: str = ""
    condition: str = ""
    error: str = ""
    shadow: bool = False
    saw: tuple[Saw, ...] = ()

    @property
    def look(self) -> str:
        """The colour of what it did: that of its effect where it counted, none where it did not."""
        counted = self.outcome == "matched" or (self.outcome == "error" and self.effect != "allow")
        return LOOKS[self.effect] if counted and not self.shadow else "muted"


@dataclass(frozen=True)
class Explained:
    """A verdict with its lines; `elsewhere` are the release's rules that are about other tools or agents."""

    verdict: Verdict
    lines: tuple[Line, ...]
    elsewhere: tuple[str, ...]
    facts: payloads.Node

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
    elsewhere = tuple(rule.name for rule in rules if rule.enabled and rule.name not in considered)
    lines = (*_built_in(verdict), *_lines(verdict, known, facts))
    return Explained(verdict, lines, elsewhere, payloads.tree(facts))


def values_seen(condition: str, facts: Mapping[str, Any]) -> tuple[Saw, ...]:
    """Each fact that a condition names, with its value in these facts."""
    bare = _TEXT.sub("''", condition)
    names = dict.fromkeys(re.sub(r"\s", "", found.group()) for found in _NAMED.finditer(bare))
    return tuple(_saw(name, facts) for name in names)


def _built_in(verdict: Verdict) -> Iterator[Line]:
    for match in verdict.matched:
        if match.rule_id.startswith("built-in:"):
            yield Line(match.name, match.effect, "matched", match.why, text="Built in: no rule loosens it.")
        elif match.rule_id.startswith(ALLOWANCE):
            told = "Not a rule of the release: a reviewer's answer in advance, which ends by itself."
            yield Line(match.name, match.effect, "matched", match.why, text=told)


def _lines(verdict: Verdict, known: Mapping[str, RuleSpec], facts: Mapping[str, Any]) -> Iterator[Line]:
    for item in verdict.considered:
        rule = known.get(item.name)
        yield Line(
            name=item.name, effect=item.effect, outcome=item.outcome, error=item.why,
            why=_why(item.outcome, item.effect),
            text=sentence(rule) if rule else "", condition=rule.when.strip() if rule else "",
            shadow=rule is not None and rule.mode == "shadow",
            saw=values_seen(rule.when, facts) if rule else (),
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
    return Saw(name, payloads.tree(value if there else None), there)
