"""Judging one call: firewall over the arguments, origin of each, the verdict with its reasons."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from approvals import following
from approvals.executors import EXECUTORS, http
from policies import arguments, engine, facts, firewall, heard, limits, provenance, reach, releases
from policies.firewall import known
from policies.models import Agent, Allowance
from policies.tooling import ToolDef
from policies.trail import session_facts
from traces.models import Session

SHOWN = 160  # characters of one value in the one-sentence summary
RUNNABLE = frozenset({"agent", "credential", *EXECUTORS})
MAX_TEXTS, MAX_TOLD = 2_000, 1_000
TOO_MANY = {
    "detector": "firewall", "severity": "high", "path": "", "start": 0, "end": 0, "blocks": True,
    "why": f"something is in these arguments, and more than {MAX_TEXTS} texts are too many to say in which",
}  # fmt: skip
PLACEHOLDER = re.compile(r"\{([A-Za-z0-9_]+)\}")


@dataclass(frozen=True)
class Judged:
    """Everything that judging found out about one revision of one call."""

    tool: ToolDef
    verdict: engine.Verdict
    facts: facts.Facts
    origins: dict[str, Any]
    findings: list[dict[str, Any]]
    rule_texts: dict[str, str]
    allowance: Allowance | None = None

    @property
    def approvals(self) -> list[dict[str, Any]]:
        return [approval.to_json() for approval in self.verdict.approvals]

    @property
    def sentence(self) -> str:
        return f"{self.verdict.effect}: {'; '.join(self.verdict.reasons)}"


@dataclass(frozen=True)
class Edited:
    """What the agent proposed at first, and who changed it since."""

    original: Mapping[str, Any]
    by: str


def judge(
    *,
    agent: Agent,
    session: Session,
    tool: ToolDef,
    args: dict[str, Any],
    usage: facts.UsageFacts,
    now: datetime,
    active: releases.Active,
    edited: Edited | None = None,
    leaked: Sequence[dict[str, Any]] = (),
) -> Judged:
    """The verdict on one call, with the facts it saw. What a reviewer edited has the origin `reviewer`;
    `leaked` are findings on what was taken out of the arguments before.
    """
    findings = [*leaked, *screen(args)]
    said = heard.index(session)
    traced = provenance.trace(args, said, tool.parameters)
    if edited is not None:
        traced = provenance.edited(traced, before=edited.original, after=args, entry_id="", who=edited.by)
    origins = {path: origin.to_json() for path, origin in traced.items()}
    seen = facts.build(
        args=args, tool=tool.facts(), agent=agent_facts(agent),
        session=session_facts(session, tool=tool, now=now),
        origin=provenance.summarize(traced, tool.facts().authority), now=now, usage=usage,
        findings=[{key: str(found[key]) for key in ("detector", "severity", "why")} for found in findings],
        copied=following.copied(
            agent=agent, session=session, tool=tool, args=args, origins=traced, sources=said.sources, now=now,
        ),
    )  # fmt: skip
    verdict = with_built_in(engine.decide(seen, active.compiled), agent, tool, findings, args)
    return Judged(tool, verdict, seen, origins, findings, active.rule_texts(verdict))


def screen(args: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the firewall finds in each text of the arguments, with the path of the text.

    A pile of texts is read as one first; only where something is in it each text is read by itself, and a
    pile too high for that is blocked. Of very many findings one of each kind is told beyond the first.
    """
    texts = list(_texts(args, ""))
    if len(texts) > 1 and _inspected("\n".join(text for _, text in texts)).verdict == "pass":
        return []
    if len(texts) > MAX_TEXTS:
        return [TOO_MANY]
    found: dict[Any, dict[str, Any]] = {}
    for path, text in texts:
        inspection = _inspected(text)
        for place, finding in enumerate(inspection.findings):
            kind = (finding.detector, finding.severity, finding.why)
            found.setdefault(
                (path, place) if len(found) < MAX_TOLD else kind, asdict(finding) | {"path": path}
            )
        if inspection.verdict == "block":
            found[path] = asdict(inspection.findings[-1]) | {"path": path, "blocks": True}
    for one in found.values():
        # A value that tools are given by name has no business in what an agent writes.
        one |= {"blocks": True} if one["detector"] == known.NAME else {}
    return list(found.values())


def _inspected(text: str) -> firewall.Inspection:
    return firewall.inspect(text, direction="output", source="argument")


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, f"{path}/{arguments.pointer((key,)).lstrip('/')}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, f"{path}/{index}")


def with_built_in(
    verdict: engine.Verdict,
    agent: Agent,
    tool: ToolDef,
    findings: list[dict[str, Any]],
    args: Mapping[str, Any],
) -> engine.Verdict:
    """Add what no rule may loosen: the agent's mode, and a firewall that says no or has failed."""
    blocks = [("agent-mode", limits.mode_block(agent, tool)), ("runs", _nobody_runs(tool))]
    blocks += [("egress", reach.hindrance(tool, verdict.egress))]
    if tool.runs == "http":
        blocks += [("egress", http.hindrance(args, reach.confined(tool, verdict.egress)))]
    blocks += [("firewall", found["why"]) for found in findings if found.get("blocks")]
    matches = tuple(
        engine.Match(rule_id=f"built-in:{name}", name=name, effect="block", why=why)
        for name, why in blocks
        if why
    )
    if not matches:
        return verdict
    reasons = tuple(match.why for match in matches)
    return replace(
        verdict,
        effect="block",
        matched=matches + verdict.matched,
        reasons=reasons + verdict.reasons,
        approvals=(),
    )


def _nobody_runs(tool: ToolDef) -> str | None:
    """A call that nothing here could start must not wait for people, nor for its time to pass."""
    if tool.runs in RUNNABLE:
        return None
    return f"{tool.name} runs as {tool.runs}, which this version of agentsec cannot do"


def agent_facts(agent: Agent) -> facts.AgentFacts:
    team = agent.team.name if agent.team else ""
    return facts.AgentFacts(name=agent.name, mode=agent.mode, team=team, labels=tuple(agent.labels))


def target(tool: ToolDef, args: Mapping[str, Any]) -> str:
    """What the card names and a person types to confirm: the tool's target argument, else the tool's name."""
    value = args.get(tool.target) if tool.target else None
    text = _plain(value) if value is not None else ""
    # What is blank could be confirmed by typing nothing.
    return text if text.strip() else tool.name


def summary(tool: ToolDef, args: Mapping[str, Any]) -> str:
    """One sentence from the tool's own template. A long value says that it is cut and how long it is."""
    template = tool.summary or f"Call {tool.name}"
    return PLACEHOLDER.sub(lambda found: _short(args.get(found.group(1))), template)


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    return arguments.canonical(value).decode()


def _short(value: Any) -> str:
    if value is None:
        return "—"
    if isinstance(value, list) and len(value) > 3:
        return f"{', '.join(_short(item) for item in value[:3])} and {len(value) - 3} more"
    # A line's end shows: what stands on the next line must not pass for the end of a comment.
    text = " ".join(_plain(value).strip().replace("\n", " ↵ ").split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text)} characters)"
