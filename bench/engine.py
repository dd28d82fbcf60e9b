"""How long one decision takes, beside a loop over Python predicates and beside bare CEL, in the same run.

    manage.py bench engine [RULES …]        (default: 10 100 1000 10000)

For each number of rules, 10, 100 and all of them apply to the call: they name its tool and agent, half of
them by name and half by pattern; every other rule is for other tools. The three contenders judge the same
call by the same conditions:

    decide   facts in, verdict out: who applies, every condition, reasons, approvals, what was considered
    python   for each rule: do the globs fit (fnmatch, its patterns cached), then a Python lambda; a list of
             the names of those that match comes out. No index and no verdict, as one would first write it
    cel      the activation once, then each applying rule's compiled condition evaluated by itself; no verdict

`further` is what each rule more costs decide(): (cpu − cpu with 10 applying) / (applying − 10).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from bench.timing import Timing, measure
from policies import engine
from policies import facts as vocabulary
from policies.engine import Compiled, RuleSpec, compile_release, decide
from policies.facts import AgentFacts, Facts, SessionFacts, ToolFacts, build
from policies.functions import domain, recipients

TARGET, TARGET_FURTHER = 60.0, 2.5
EFFECTS = ("allow", "ask", "block")
Predicate = Callable[[Facts], bool]
Kinds = tuple[tuple[str, Callable[[int], Predicate]], ...]

# What rules in the field look like: mostly comparisons of facts, now and then a function.
KINDS: Kinds = (
    ("tool.sends == 'external' && 'x{n}' in session.labels",
     lambda n: lambda f: f.tool.sends == "external" and f"x{n}" in f.session.labels),
    ("size(args.to) > {n}", lambda n: lambda f: len(f.args["to"]) > n),
    ("has(args.amount) && args.amount > {n}.0",
     lambda n: lambda f: "amount" in f.args and f.args["amount"] > n),
    ("authority.exists(name, authority[name] == 'untrusted') && usage.minute > {n}",
     lambda n: lambda f: "untrusted" in f.authority.values() and f.usage.minute > n),
    ("", lambda n: lambda f: True),
    ("session.age > {n} * 60 || agent.team == 'team{n}'",
     lambda n: lambda f: f.session.age > n * 60 or f.agent.team == f"team{n}"),
    ("args.subject.startsWith('Invoice {n}')",
     lambda n: lambda f: f.args["subject"].startswith(f"Invoice {n}")),
    ("!args.to.all(mail, domain(mail) in ['example.com', 'd{n}.example'])",
     lambda n: lambda f: not all(domain(mail) in ("example.com", f"d{n}.example") for mail in f.args["to"])),
    ("recipients(args) > {n} + 100", lambda n: lambda f: recipients(f.args) > n + 100),
    ("findings.exists(f, f.severity == 'high') && origin['body'] == 'untrusted'",
     lambda n: lambda f: any(each["severity"] == "high" for each in f.findings)
     and f.origin["body"] == "untrusted"),
)  # fmt: skip

# What calls nothing but functions, measured by itself since crossing into Python is dear.
FUNCTIONS: Kinds = (
    ("recipients(args) > {n}", lambda n: lambda f: recipients(f.args) > n),
    ("args.to.all(mail, domain(mail) == 'd{n}.example')",
     lambda n: lambda f: all(domain(mail) == f"d{n}.example" for mail in f.args["to"])),
)  # fmt: skip


def main(argv: list[str]) -> None:
    sizes = [int(word) for word in argv] or [10, 100, 1000, 10_000]
    facts = call()
    print("microseconds; a tenth of the rules call recipients(), a tenth domain() twice; ratios are of cpu\n")
    columns = " ".join(f"{name + ' p50':>9} {'p99':>9} {'cpu':>9}" for name in ("decide", "python", "cel"))
    print(f"{'rules':>6} {'apply':>6}  {columns} {'/ python':>9} {'/ cel':>9} further")
    reached: list[str] = []
    for size in sizes:
        reached += rows(facts, size, [min(10, size), min(100, size), size], KINDS)
    for kind in FUNCTIONS:
        print(f"rules made only of {kind[0]}")
        most = min(1000, max(sizes))
        reached += [
            f"only {kind[0].partition(' ')[0]}…: {said}"
            for said in rows(facts, most, [min(10, most), min(100, most)], (kind,))
        ]
    print("\n" + "\n".join(reached))


def rows(facts: Facts, size: int, numbers: list[int], kinds: Kinds) -> list[str]:
    """So many rules, of which these numbers apply, each a line; which goals were reached."""
    first, reached = None, []
    for applying in sorted({*numbers}):
        timings = contend(facts, size, applying, kinds)
        first = first or timings[0]
        further = (timings[0].cpu - first.cpu) / (applying - 10) if applying > 10 else None
        show(size, applying, timings, further)
        reached += goals(size, applying, timings[0], further)
    return reached


def goals(size: int, applying: int, decided: Timing, further: float | None) -> list[str]:
    found = []
    if (size, applying) == (1000, 10):
        found.append(
            f"1,000 rules, 10 apply: p50 {decided.p50:.1f} µs, cpu {decided.cpu:.1f}, goal {TARGET:.0f}, "
            f"ratio {decided.p50 / TARGET:.2f}"
        )
    if further is not None:
        found.append(
            f"{size:,} rules, {applying:,} apply: {further:.2f} µs a further rule, goal {TARGET_FURTHER}, "
            f"ratio {further / TARGET_FURTHER:.2f}"
        )
    return found


def show(size: int, applying: int, timings: tuple[Timing, Timing, Timing], further: float | None) -> None:
    decided, python, cel = timings
    ratios = f"{decided.cpu / python.cpu:9.3f} {decided.cpu / cel.cpu:9.2f}"
    more = f"{further:7.2f}" if further is not None else ""
    print(f"{size:>6} {applying:>6}  {decided} {python} {cel} {ratios} {more}")


def contend(facts: Facts, size: int, applying: int, kinds: Kinds) -> tuple[Timing, Timing, Timing]:
    rules = [rule(number, number < applying, kinds) for number in range(size)]
    predicates = [(each, kinds[number % len(kinds)][1](number)) for number, each in enumerate(rules)]
    began = time.perf_counter()
    compiled = compile_release(rules)
    took = time.perf_counter() - began
    if took > 1:
        print(f"       (compiling {size} rules took {took:.1f} s)")
    # As many rounds as it takes to join every list of conditions, so that the steady state is measured.
    warm = 20 + applying // 16
    agree(facts, compiled, predicates)
    decided = measure(lambda: decide(facts, compiled), warm=warm)
    python = measure(lambda: loop(facts, predicates), warm=2)
    return decided, python, measure(bare(facts, rules), warm=2)


def agree(facts: Facts, compiled: Compiled, predicates: list[tuple[RuleSpec, Predicate]]) -> None:
    """A fast wrong answer counts for nothing: decide() must find what the loop finds."""
    expected = sorted(loop(facts, predicates))
    for _ in range(10):
        found = sorted(match.name for match in decide(facts, compiled).matched)
        if found != expected:
            raise SystemExit(f"decide() and the loop differ: {sorted(set(found) ^ set(expected))[:5]}")


def loop(facts: Facts, predicates: list[tuple[RuleSpec, Predicate]]) -> list[str]:
    return [
        rule.name
        for rule, predicate in predicates
        if fits(rule.agents, facts.agent.name) and fits(rule.tools, facts.tool.name) and predicate(facts)
    ]


def fits(globs: tuple[str, ...], name: str) -> bool:
    return not globs or any(fnmatchcase(name, glob) for glob in globs)


def bare(facts: Facts, rules: list[RuleSpec]) -> Callable[[], list[Any]]:
    """Bare evaluation, one by one, of the conditions of the rules that apply."""
    environment = engine._environment()  # the same facts and functions, or the comparison is unfair
    applying = [each for each in rules if fits(each.tools, facts.tool.name) and each.when]
    programs = [environment.compile(each.when) for each in applying]

    def evaluate() -> list[Any]:
        activation = environment.Activation(vocabulary.activation(facts))
        return [program.eval(activation).value() for program in programs]

    return evaluate


def rule(number: int, applies: bool, kinds: Kinds) -> RuleSpec:
    tool = "email.send" if applies else f"tool{number}.run"
    # Half by name and half by pattern, which take different ways through the index.
    glob = tool if number % 2 else tool.split(".")[0] + ".*"
    effect = EFFECTS[number % 3]
    when = kinds[number % len(kinds)][0].format(n=number)
    return RuleSpec(
        str(number), f"rule-{number:05}", effect, agents=("news-*",), tools=(glob,), when=when,
        approvers="comms" if effect == "ask" else "",
    )  # fmt: skip


def call() -> Facts:
    return build(
        args={"to": ["ada@example.com", "grace@example.com"], "subject": "Hi", "body": "Hello " * 50},
        tool=ToolFacts("email.send", effect="write", declared=True, authority=("to",)),
        agent=AgentFacts("news-bot", mode="standard", team="news"),
        session=SessionFacts(labels=("private", "untrusted"), age=600, calls=12, user="ada"),
        origin={"to": "user", "subject": "agent", "body": "untrusted"},
        now=datetime.now(UTC),
    )
