"""How long a backtest takes: stored calls judged again by a draft of 100 rules, of which 12 apply to each.

python bench/backtest.py [CALLS]

The judging alone, without the database; `manage.py backtest` prints the whole time on real rows.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from policies import backtest, engine
from policies.backtest import Difference, Past
from policies.engine import RuleSpec, compile_release
from policies.facts import AgentFacts, SessionFacts, ToolFacts, build
from policies.tooling import ToolDef

KINDS = 8
CHOICES = random.Random(4411)


def main(calls: int = 100_000) -> None:
    past, draft = compile_release(rules(100)), compile_release(rules(60))
    history = [made(number, past) for number in range(min(calls, 2000))]
    tools = {f"tool{kind}": tool(kind) for kind in range(KINDS)}
    began = time.perf_counter()
    found = backtest.judge(repeated(history, calls), compiled=draft, tools=tools, into=Difference())
    took = time.perf_counter() - began
    print(f"{calls} calls in {took:.1f} s, {took / calls * 1e6:.0f} µs each; {found.changed} change")


def rules(threshold: int) -> list[RuleSpec]:
    asking = [
        RuleSpec(str(n), f"rule-{n}", "ask", tools=(f"tool{n % KINDS}",), approvers="ops",
                 when=f"size(args.to) > {threshold + n} && 'untrusted' in session.labels")
        for n in range(96)
    ]  # fmt: skip
    return [*asking, *(RuleSpec(f"all-{n}", f"all-{n}", "allow", tools=("tool*",)) for n in range(4))]


def tool(kind: int) -> ToolDef:
    return ToolDef(name=f"tool{kind}", effect="write", authority=("to",))


def made(number: int, past: engine.Compiled) -> Past:
    people = [f"person{n}@example.com" for n in range(CHOICES.randrange(1, 120))]
    facts = build(
        args={"to": people, "subject": "Hi", "body": "Hello " * 50},
        tool=ToolFacts(f"tool{number % KINDS}", effect="write", declared=True, authority=("to",)),
        agent=AgentFacts("news-bot", mode="standard"),
        session=SessionFacts(labels=("untrusted",)),
        origin={"to": "user"},
        now=datetime.now(UTC),
    )
    verdict = engine.decide(facts, past)
    return Past(str(number), json.dumps(facts.to_json()), json.dumps(verdict.to_json()))


def repeated(history: list[Past], calls: int) -> Iterator[Past]:
    return (history[number % len(history)] for number in range(calls))


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:2]))
