"""How long one decision takes: 1,000 rules, of which 10 apply to the call.

python bench/decide.py [RULES] [APPLYING]
"""

from __future__ import annotations

import statistics
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from policies.engine import RuleSpec, compile_release, decide
from policies.facts import AgentFacts, Facts, ToolFacts, build

ROUNDS = 5000


def main(rules: int = 1000, applying: int = 10) -> None:
    began = time.perf_counter()
    compiled = compile_release([rule(number, number < applying) for number in range(rules)])
    print(f"compile {rules} rules: {time.perf_counter() - began:.2f} s")
    facts = call()
    micros = []
    for _ in range(ROUNDS):
        start = time.perf_counter_ns()
        decide(facts, compiled)
        micros.append((time.perf_counter_ns() - start) / 1000)
    micros.sort()
    considered = len(decide(facts, compiled).considered)
    print(
        f"decide, {considered} of {rules} rules apply: p50 {statistics.median(micros):.0f} µs, "
        f"p99 {micros[int(ROUNDS * 0.99)]:.0f} µs"
    )


def rule(number: int, applies: bool) -> RuleSpec:
    tool = "email.send" if applies else f"tool{number}.run"
    # Half by name and half by pattern, which take different ways through the index.
    glob = tool if number % 2 else tool.split(".")[0] + ".*"
    when = f"recipients(args) > {100 + number} || tool.sends == 'external' && 'x{number}' in session.labels"
    return RuleSpec(str(number), f"rule-{number}", "block", tools=(glob,), when=when)


def call() -> Facts:
    return build(
        args={"to": ["ada@example.com", "grace@example.com"], "subject": "Hi", "body": "Hello " * 50},
        tool=ToolFacts("email.send", effect="write", declared=True, authority=("to",)),
        agent=AgentFacts("news-bot"),
        origin={"to": "user"},
        now=datetime.now(UTC),
    )


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:3]))
