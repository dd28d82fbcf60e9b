"""The simulator: what would be said of a call or of a whole session. Nothing is run, stored or counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from approvals import explain, judging, pipeline
from approvals.explain import Explained
from policies import engine, facts, limits, provenance, purpose, releases, sessions
from policies.facts import SessionFacts, UsageFacts
from policies.models import Agent, AgentKey
from policies.provenance import Source
from policies.releases import Active
from policies.tooling import ToolDef
from traces.problems import Refused

MAX_STEPS = 200


@dataclass(frozen=True)
class Event:
    """Something said or read in the session, as `sessions.add_event` takes it."""

    kind: str
    text: str
    tool: str = ""
    quoted: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Call:
    """A call to judge. `origin` and `findings` replace what would be found out.

    `approved` says whether people approve it where it is asked: only then does it start and label.
    """

    tool: str
    args: Mapping[str, Any]
    origin: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Mapping[str, str], ...] | None = None
    approved: bool = True


@dataclass(frozen=True)
class Setting:
    """Where it plays: the agent by name, the session as it begins, and by which rules it is judged."""

    agent: str
    session: SessionFacts
    usage: UsageFacts
    now: datetime
    draft: bool = False


@dataclass(frozen=True)
class Heard:
    """What would become of an event."""

    event: Event
    verdict: str
    text: str
    findings: tuple[dict[str, Any], ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Ruled:
    """What would become of a call: allow, ask, block, or refused, which says why in `refused`.

    `held` says what would stop it besides: a pause or the kill switch. `labels` are the session's afterwards.
    """

    call: Call
    effect: str
    labels: tuple[str, ...]
    refused: str = ""
    held: str = ""
    facts: facts.Facts | None = None
    explained: Explained | None = None


@dataclass(frozen=True)
class Simulation:
    """Each step in order, and the digest of the rules that judged."""

    release: str
    draft: bool
    steps: tuple[Heard | Ruled, ...]


def simulate(*, setting: Setting, steps: Sequence[Event | Call]) -> Simulation:
    """Play the steps in order, each in the session that those before it have left.

    Raises Refused: not_found (agent), invalid (too many steps, an event that could not be, or a draft that
    does not compile).
    """
    if len(steps) > MAX_STEPS:
        raise Refused("invalid", f"At most {MAX_STEPS} steps can be simulated at once.")
    agent = Agent.objects.select_related("team").filter(name=setting.agent).first()
    if agent is None:
        raise Refused("not_found", f"There is no agent {setting.agent!r}.")
    active = releases.activate(releases.draft_content()) if setting.draft else releases.current()
    stage = _Stage(agent, active, setting)
    return Simulation(active.digest, setting.draft, tuple(stage.play(step) for step in steps))


class _Stage:
    """A session that exists for the length of a simulation."""

    def __init__(self, agent: Agent, active: Active, setting: Setting) -> None:
        self.agent, self.active, self.now = agent, active, setting.now
        self.session, self.usage = setting.session, setting.usage
        scopes = ["act", "attest"] if setting.session.attested else ["act"]
        self.key = AgentKey(agent=agent, scopes=scopes)
        self.sources: list[Source] = []
        self.index: provenance.Index | None = None

    def play(self, step: Event | Call) -> Heard | Ruled:
        return self.hear(step) if isinstance(step, Event) else self.rule(step)

    def hear(self, event: Event) -> Heard:
        heard = sessions.rehearse(
            kind=event.kind, text=event.text, tool=event.tool, quoted=event.quoted, key=self.key,
            active=self.active,
        )  # fmt: skip
        if heard.source is not None:
            self.sources.append(heard.source)
            self.index = None
        self.label(heard.labels)
        if event.tool and event.kind in sessions.READ:
            self.has_read(event.tool)
        return Heard(event, heard.verdict, heard.text, heard.findings, self.session.labels)

    def rule(self, call: Call) -> Ruled:
        tool = self.active.tool(call.tool)
        try:
            args = pipeline.checked(tool, call.args)
        except Refused as refused:
            return Ruled(call, "refused", self.session.labels, refused=refused.detail)
        seen, findings = self.weigh(tool, args, call)
        verdict = judging.with_built_in(
            engine.decide(seen, self.active.compiled), self.agent, tool, findings, args
        )
        explained = explain.explain(verdict, self.active.compiled.rules, seen.to_json())
        self.count()
        if verdict.effect == "allow" or (verdict.effect == "ask" and call.approved):
            self.label(tool.labels_given)
            self.start(tool)
        held = limits.held(self.agent, tool)
        return Ruled(call, verdict.effect, self.session.labels, held=held, facts=seen, explained=explained)

    def weigh(self, tool: ToolDef, args: dict[str, Any], call: Call) -> tuple[facts.Facts, list[Any]]:
        found = judging.screen(args) if call.findings is None else [dict(item) for item in call.findings]
        self.index = self.index or provenance.Index(self.sources)
        traced = provenance.summarize(
            provenance.trace(args, self.index, tool.parameters), tool.facts().authority
        )
        seen = facts.build(
            args=args, tool=tool.facts(), agent=judging.agent_facts(self.agent), session=self.seen_by(tool),
            origin={**traced, **call.origin}, usage=self.usage, now=self.now, findings=list(_told(found)),
        )  # fmt: skip
        return seen, found

    def label(self, labels: frozenset[str] | tuple[str, ...]) -> None:
        self.session = replace(self.session, labels=tuple(sorted({*self.session.labels, *labels})))

    def seen_by(self, tool: ToolDef) -> SessionFacts:
        """The session as the rules see it when this tool is called."""
        opened = purpose.facts(
            purpose=self.session.purpose, tools=self.session.tools, attested=self.session.attested,
            tool=tool.name, declared=tool.declared,
        )  # fmt: skip
        return replace(self.session, **opened)

    def has_read(self, tool: str) -> None:
        self.session = replace(self.session, read=tuple(sorted({*self.session.read, tool})))

    def start(self, tool: ToolDef) -> None:
        self.has_read(tool.name)
        did = {*self.session.did, tool.name} if tool.effect != "read" else self.session.did
        self.session = replace(self.session, did=tuple(sorted(did)), last=tool.name)

    def count(self) -> None:
        self.session = replace(self.session, calls=self.session.calls + 1)
        self.usage = replace(self.usage, minute=self.usage.minute + 1, day=self.usage.day + 1)


def _told(found: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    return ({key: str(item[key]) for key in ("detector", "severity", "why")} for item in found)
