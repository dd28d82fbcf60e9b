"""The part of `bench/limits.py` that needs a running instance."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from threading import Barrier
from typing import Any

import yaml
from django.db import connections
from django.utils import timezone

from approvals import pipeline
from approvals.models import Action
from policies import agents, sessions, world
from policies.limit_models import Limit
from policies.models import Agent, AgentKey
from traces.models import Session
from traces.problems import Refused

CALLS, AGENTS, PRICE = 64, 8, Decimal("12.5")
# A minute counts by itself, so a crowd must not meet the end of one.
YOUNG = 40
# What waits for one kind would count for the next, so each has a tool of its own.
RULE = "rules: [{name: orders, effect: ask, tools: ['*.place'], approvers: finance}]"
PARAMETERS = {"type": "object", "properties": {"amount": {"type": "number"}}, "required": ["amount"]}
Crowd = Sequence[tuple[Agent, AgentKey, Session]]


@dataclass(frozen=True)
class Kind:
    """A limit to run into: of each agent alone (`own`), or shared; how many calls it lets in, or what sum."""

    name: str
    most: int
    shared: str = ""
    own: str = ""
    money: Decimal | None = None


# Of the first kinds each of the eight agents may make so many of its eight calls.
KINDS = (
    Kind("agent: calls a minute", 3 * AGENTS, own="actions_per_minute: 3"),
    Kind("agent: calls a day", 5 * AGENTS, own="actions_per_day: 5"),
    Kind("agent: waiting", 2 * AGENTS, own="pending: 2"),
    Kind("one agent: calls a day", 3 + CALLS - CALLS // AGENTS, shared="agent: {first}, per_day: 3"),
    Kind("tool: calls a minute", 13, shared="tool: {tool}, per_minute: 13"),
    Kind("tool: calls a day", 17, shared="tool: {tool}, per_day: 17"),
    Kind("tool: waiting", 11, shared="tool: '{family}.*', pending: 11"),
    Kind("group: calls a minute", 7, shared="group: {team}, per_minute: 7"),
    Kind("group: calls a day", 9, shared="group: {team}, per_day: 9"),
    Kind("group: waiting", 10, shared="group: {team}, pending: 10"),
    Kind("tool: money a day", 20, shared="tool: {tool}, sum_of: amount, sum_per_day: 260",
         money=Decimal(260)),
    Kind("group and tool: money a day", 8, shared="tool: '{family}.*', group: {team}, sum_of: amount, "
         "sum_per_day: 100", money=Decimal(100)),
)  # fmt: skip


def run() -> None:
    world.apply(RULE, by="bench")
    print(f"{CALLS} calls at once, {AGENTS} agents\n")
    print(f"{'limit':<28} {'allows':>6} {'let in':>6} {'refused':>7} {'over':>5} {'short':>5} {'seconds':>7}")
    over = sum(tried(kind, number) for number, kind in enumerate(KINDS))
    print(f"\nLet in beyond a limit: {over}")
    if over:
        raise SystemExit(1)


def tried(kind: Kind, number: int) -> Decimal:
    """By how much the limit was passed: calls, or money."""
    called = crowd(kind, team=f"team{number}", tool=f"order{number}.place")
    while timezone.now().second > YOUNG:
        time.sleep(0.5)
    began = time.perf_counter()
    outcomes = storm(called, tool=f"order{number}.place")
    took = time.perf_counter() - began
    if outcomes.keys() - {"in", "limit"}:
        raise SystemExit(f"{kind.name}: {dict(outcomes)}")
    over, let_in = passed(kind, called), outcomes["in"]
    print(f"{kind.name:<28} {kind.most:>6} {let_in:>6} {outcomes['limit']:>7} {over:>5} "
          f"{max(0, kind.most - let_in):>5} {took:>7.2f}")  # fmt: skip
    Limit.objects.all().delete()
    return over


def passed(kind: Kind, called: Crowd) -> Decimal:
    """As the database tells it, whatever the calls were answered."""
    stored = Action.objects.filter(agent__in=[agent for agent, _, _ in called]).count()
    if kind.money is not None:
        return max(Decimal(0), stored * PRICE - kind.money)
    return max(Decimal(0), Decimal(stored - kind.most))


def crowd(kind: Kind, *, team: str, tool: str) -> Crowd:
    """New agents of a new team under this limit, each with a session."""
    names = [f"{team}-{number}" for number in range(AGENTS)]
    own = kind.own or "actions_per_minute: 1000"
    about = {"team": team, "mode": "standard", "limits": yaml.safe_load(f"{{{own}}}")}
    made: dict[str, list[dict[str, Any]]] = {
        "agents": [{"name": name, **about} for name in names],
        "tools": [{"name": tool, "effect": "write", "parameters": PARAMETERS}],
    }
    if kind.shared:
        family = tool.partition(".")[0]
        told = kind.shared.format(first=names[0], team=team, tool=tool, family=family)
        made["limits"] = [yaml.safe_load(f"{{name: {team}, {told}}}")]
    world.apply(yaml.safe_dump(made), by="bench")
    return [opened(agent) for agent in Agent.objects.filter(name__in=names)]


def opened(agent: Agent) -> tuple[Agent, AgentKey, Session]:
    key = agents.authenticate_key(agents.issue_key(agent, ["act", "attest"], by="bench"))
    assert key is not None
    return agent, key, sessions.open_session(agent=agent, key=key)


def storm(called: Crowd, *, tool: str) -> Counter[str]:
    """All at the same moment; how many were let in, and why the others were not."""
    gate = Barrier(CALLS)

    def call(number: int) -> str:
        agent, key, session = called[number % len(called)]
        args = {"amount": float(PRICE)}
        gate.wait(60)
        try:
            pipeline.propose(agent=agent, key=key, session_id=session.pk, tool=tool, args=args)
            return "in"
        except Refused as refused:
            return refused.code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(CALLS) as pool:
        return Counter(pool.map(call, range(CALLS)))
