"""Cases: example calls with the effect that every release must give them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from policies import engine, facts, firewall
from policies.arguments import ArgumentsRefused, check, normalise
from policies.engine import Compiled
from policies.facts import AgentFacts, SessionFacts, UsageFacts
from policies.tooling import ToolDef


@dataclass(frozen=True)
class Example:
    """A call to try. `origin` names where arguments came from; an authority not named is the agent's."""

    name: str
    tool: str
    args: Mapping[str, Any]
    expect: str
    agent: AgentFacts = AgentFacts("an-agent", mode="standard")
    labels: tuple[str, ...] = ()
    origin: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """A case that does not come out as it must; `why` is a sentence with what came out instead."""

    name: str
    why: str


def run(
    examples: Iterator[Example] | list[Example],
    *,
    compiled: Compiled,
    tools: Mapping[str, ToolDef],
    now: datetime,
) -> list[Failure]:
    """The cases that fail, each with its reason; empty if none does."""
    outcomes = ((example, _try(example, compiled, tools, now)) for example in examples)
    return [Failure(example.name, why) for example, why in outcomes if why]


def _try(example: Example, compiled: Compiled, tools: Mapping[str, ToolDef], now: datetime) -> str:
    """Why this case fails, "" where it does not."""
    tool = tools.get(example.tool) or ToolDef.undeclared(example.tool)
    try:
        args = check(example.args, tool.parameters) if tool.declared else normalise(dict(example.args))
    except ArgumentsRefused as refused:
        return f"its arguments are not what {tool.name} takes: {refused.detail}"
    findings, blocks = _screen(args)
    seen = facts.build(
        args=args, tool=tool.facts(), agent=example.agent, session=SessionFacts(labels=example.labels),
        origin=example.origin, findings=findings, usage=UsageFacts(minute=1, day=1), now=now,
    )  # fmt: skip
    verdict = engine.decide(seen, compiled)
    effect = "block" if blocks else verdict.effect
    if effect == example.expect:
        return ""
    reasons = "; ".join(blocks or verdict.reasons)
    return f"it expects {example.expect} and gets {effect} ({reasons})"


def _screen(args: Any) -> tuple[list[dict[str, str]], list[str]]:
    """What the firewall finds in the texts of the arguments, and why it blocks them if it does."""
    findings, blocks = [], []
    for text in _texts(args):
        inspection = firewall.inspect(text, direction="output", source="argument")
        found = [
            {"detector": item.detector, "severity": item.severity, "why": item.why}
            for item in inspection.findings
        ]
        findings += found
        if inspection.verdict == "block":
            blocks += [item["why"] for item in found] or ["the firewall blocks it"]
    return findings, blocks


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
