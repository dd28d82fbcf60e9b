"""Cases: example calls with the effect that every release must give them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from policies import engine, facts, firewall, purpose
from policies.arguments import ArgumentsRefused, check, normalise
from policies.engine import Compiled
from policies.facts import AgentFacts, SessionFacts, UsageFacts
from policies.rules import EFFECTS
from policies.tooling import ToolDef


@dataclass(frozen=True)
class Example:
    """A call to try. `origin` names where arguments came from; an authority not named is the agent's.

    `session` holds what SessionFacts takes besides labels. With `or_stricter`, what is stricter than `expect`
    passes too: a case of a rule set that others may be added to.
    """

    name: str
    tool: str
    args: Mapping[str, Any]
    expect: str
    agent: AgentFacts = AgentFacts("an-agent", mode="standard")
    labels: tuple[str, ...] = ()
    origin: Mapping[str, str] = field(default_factory=dict)
    session: Mapping[str, Any] = field(default_factory=dict)
    or_stricter: bool = False

    def passes(self, effect: str) -> bool:
        """Whether this effect is the expected one, or stricter where that will do."""
        return effect == self.expect or (
            self.or_stricter and EFFECTS.index(effect) > EFFECTS.index(self.expect)
        )


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
        args=args, tool=tool.facts(), agent=example.agent, session=_session(example, tool),
        origin=example.origin, findings=findings, usage=UsageFacts(minute=1, day=1), now=now,
    )  # fmt: skip
    verdict = engine.decide(seen, compiled)
    effect = "block" if blocks else verdict.effect
    if example.passes(effect):
        return ""
    reasons = "; ".join(blocks or verdict.reasons)
    return f"it expects {example.expect} and gets {effect} ({reasons})"


def _session(example: Example, tool: ToolDef) -> SessionFacts:
    given = {"attested": True, "purpose": "", "tools": (), **example.session}
    opened = purpose.facts(
        purpose=given["purpose"], tools=given["tools"], attested=given["attested"],
        tool=tool.name, declared=tool.declared,
    )  # fmt: skip
    plain: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in given.items()
    }
    return SessionFacts(labels=example.labels, **(plain | opened))


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
