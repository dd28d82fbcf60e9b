"""What rules in shadow would have done: counted from the verdicts of the last days, which all recorded it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.utils import timezone

from approvals.models import Action

DAYS = 7
EXAMPLES = 5
# `Verdict.to_json` writes this where no shadow rule matched; within a text its quotes would be escaped.
_NONE = '"shadow": []'


@dataclass
class Shadowed:
    """How often a shadow rule applied, by what really came of the call; `changed` had come out otherwise.

    `changed` is exact for what the rule adds to what was decided: a block where it was not blocked, an ask or
    an allow where the rules said something weaker. Of an allow it counts the calls that nobody decided.
    """

    name: str
    effect: str
    matched: int = 0
    changed: int = 0
    failed: int = 0
    really: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, action: str, verdict: Mapping[str, Any], *, error: str) -> None:
        self.matched += 1
        self.failed += bool(error)
        self.really[verdict["effect"]] += 1
        if _changes(self.effect, verdict):
            self.changed += 1
            self.examples = [*self.examples, action][:EXAMPLES]

    @property
    def said(self) -> str:
        """In a sentence: how often it would have made a difference."""
        would = {"block": "blocked", "ask": "asked about", "allow": "allowed"}[self.effect]
        return f"applied {self.matched} times; would have {would} {self.changed} that came out otherwise"


def counts(*, days: int = DAYS) -> list[Shadowed]:
    """Every rule that applied in shadow in the last `days`, the busiest first."""
    since = timezone.now() - timedelta(days=days)
    rows = Action.objects.filter(created_at__gte=since).exclude(verdict_json__contains=_NONE)
    found = tally(rows.values_list("id", "verdict_json").iterator(chunk_size=1000))
    return sorted(found, key=lambda item: (-item.matched, item.name))


def tally(stored: Iterable[tuple[Any, str]]) -> list[Shadowed]:
    """The same of stored verdicts, each with the id of its action."""
    found: dict[tuple[str, str], Shadowed] = {}
    for action, text in stored:
        verdict = json.loads(text)
        for match in verdict["shadow"]:
            key = (match["name"], match["effect"])
            rule = found.setdefault(key, Shadowed(*key))
            rule.add(str(action), verdict, error=match["error"])
    return list(found.values())


def _changes(effect: str, verdict: Mapping[str, Any]) -> bool:
    """Whether this effect, had it counted, would have made another one."""
    was = verdict["effect"]
    if effect == "block":
        return bool(was != "block")
    undecided = was == "block" and not verdict["matched"]
    return undecided or (effect == "ask" and was == "allow")
