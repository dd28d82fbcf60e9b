"""What a release says of many calls, quickly: calls whose rules give the same answers share one verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from policies import engine
from policies.engine import Compiled
from policies.facts import Facts
from policies.outcome import Outcome
from policies.together import Answer
from policies.verdict import Verdict

MOST = 4096


@dataclass(slots=True)
class _Heard:
    """What the first speakers said, and the verdict where that settles it: else the fallbacks are asked."""

    outcome: Outcome
    verdict: Verdict | None
    with_fallbacks: dict[Any, Verdict] = field(default_factory=dict)


def ruling(facts: Facts, compiled: Compiled) -> Verdict:
    """What engine.decide() says of effect, rules and approvals; reasons and errors may be an earlier call's.

    Every condition is asked anew; what is spared is to say of every rule what became of it.
    """
    try:
        call = compiled.concerning(facts)
        activation = engine.bind(facts, call.needs)
    except engine.UNREADABLE:
        return engine.decide(facts, compiled)
    answers = call.first.questions.answers(activation)
    key = (call, _pattern(answers), call.first.ended(facts.now))
    heard = compiled.rulings.get(key)
    if heard is None:
        if len(compiled.rulings) >= MOST:
            compiled.rulings.clear()
        heard = compiled.rulings[key] = _first(facts, compiled, call, answers)
    return heard.verdict or _last(facts, compiled, call, activation, heard)


def _pattern(answers: Sequence[Answer]) -> tuple[bool | None, ...]:
    """The answers without the words of errors."""
    return tuple([answer if answer is True or answer is False else None for answer in answers])


def _first(facts: Facts, compiled: Compiled, call: Any, answers: Sequence[Answer]) -> _Heard:
    outcome = Outcome()
    outcome.hear(call.first.rules, answers, facts.now)
    settled = outcome.settled or not call.fallbacks.rules
    return _Heard(outcome, outcome.verdict(facts, release=compiled.release, micros=0) if settled else None)


def _last(facts: Facts, compiled: Compiled, call: Any, activation: Any, heard: _Heard) -> Verdict:
    answers = call.fallbacks.questions.answers(activation)
    key = (_pattern(answers), call.fallbacks.ended(facts.now))
    known = heard.with_fallbacks.get(key)
    if known is None:
        said = heard.outcome
        outcome = Outcome([*said.matched], [*said.shadow], [*said.considered])
        outcome.hear(call.fallbacks.rules, answers, facts.now)
        known = outcome.verdict(facts, release=compiled.release, micros=0)
        heard.with_fallbacks[key] = known
    return known
