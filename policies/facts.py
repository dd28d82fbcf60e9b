"""The vocabulary a rule can speak: every fact and function, its type, what it means, an example.

The one source for it: the engine declares and binds what stands here, the editor's help and the docs print
it. A verdict stores the facts it saw (`to_json`), so that it can be explained and judged again exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from policies.functions import linked
from policies.terms import FUNCTIONS, Fact, Function

__all__ = [
    "FACTS", "FUNCTIONS", "AgentFacts", "Fact", "Facts", "Function", "SessionFacts", "ToolFacts",
    "UsageFacts", "activation", "build",
]  # fmt: skip


@dataclass(frozen=True)
class ToolFacts:
    """A tool as its definition declares it. The defaults are those of a tool that nobody declared."""

    name: str
    effect: str = "destructive"  # read | write | destructive
    sends: str = "external"  # none | internal | external
    output: str = "untrusted"  # trusted | untrusted
    returns: tuple[str, ...] = ()  # private, secret
    labels: tuple[str, ...] = ()
    authority: tuple[str, ...] | None = None  # None: every argument is one
    declared: bool = False
    runs: str = "agent"


@dataclass(frozen=True)
class AgentFacts:
    name: str
    mode: str = "read_only"
    team: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class SessionFacts:
    """`age` in whole seconds; `calls` actions proposed so far; `user` whom the session serves.

    `purpose` and `tools` are what the host application opened it for, `covers` whether it was opened for the
    tool that is called. `read`, `did` and `last` name the tools that were used before.
    """

    labels: tuple[str, ...] = ()
    age: int = 0
    calls: int = 0
    user: str = ""
    attested: bool = False
    purpose: str = ""
    tools: tuple[str, ...] = ()
    covers: bool = True
    read: tuple[str, ...] = ()
    did: tuple[str, ...] = ()
    last: str = ""


@dataclass(frozen=True)
class UsageFacts:
    """Actions of this agent: in the running minute, in the running day, waiting now."""

    minute: int = 0
    day: int = 0
    pending: int = 0


@dataclass(frozen=True)
class Facts:
    """Everything that a decision may depend on; nothing else reaches a condition."""

    args: dict[str, Any]
    tool: ToolFacts
    agent: AgentFacts
    session: SessionFacts
    origin: dict[str, str]
    findings: tuple[dict[str, str], ...]
    usage: UsageFacts
    now: datetime
    authority: dict[str, str] = field(default_factory=dict)
    copied: tuple[str, ...] = ()

    @cached_property
    def linked(self) -> list[str]:
        """The arguments in which a link stands."""
        return [name for name, value in self.args.items() if linked(value)]

    def to_json(self) -> dict[str, Any]:
        """JSON values; `from_json` gives equal facts back."""
        return {
            "args": self.args,
            "tool": _plain(self.tool),
            "agent": _plain(self.agent),
            "session": _plain(self.session),
            "origin": self.origin,
            "authority": self.authority,
            "copied": list(self.copied),
            "findings": list(self.findings),
            "usage": _plain(self.usage),
            "now": self.now.astimezone(UTC).isoformat(),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Facts:
        """The facts of a stored verdict; raises KeyError, TypeError or ValueError for anything else."""
        return build(
            args=stored["args"],
            tool=ToolFacts(**_tuples(stored["tool"])),
            agent=AgentFacts(**_tuples(stored["agent"])),
            session=SessionFacts(**_tuples(stored["session"])),
            origin=stored["origin"],
            findings=stored["findings"],
            usage=UsageFacts(**stored["usage"]),
            now=datetime.fromisoformat(stored["now"]),
            copied=tuple(stored.get("copied", ())),
        )


def build(
    *,
    args: Mapping[str, Any],
    tool: ToolFacts,
    agent: AgentFacts,
    session: SessionFacts | None = None,
    origin: Mapping[str, str] | None = None,
    findings: Sequence[Mapping[str, str]] = (),
    usage: UsageFacts | None = None,
    now: datetime,
    copied: Sequence[str] = (),
) -> Facts:
    """The facts of one call.

    `args` are checked arguments, `origin` is what `provenance.summarize` says of them, `findings` hold the
    keys detector, severity, why; `now` must be aware of its time zone (ValueError). A tool that is not
    declared counts as destructive, external and untrusted with every argument an authority, whatever else
    is claimed of it. An authority argument whose origin is missing counts as the agent's. `copied` holds for
    a tool that reads outside alone.
    """
    if now.tzinfo is None:
        raise ValueError("now must carry its time zone")
    known = tool if tool.declared else ToolFacts(name=tool.name)
    origins = dict(origin or {})
    return Facts(
        args=dict(args),
        tool=known,
        agent=agent,
        session=session or SessionFacts(),
        origin=origins,
        authority=_authority(known, args, origins),
        findings=tuple(dict(finding) for finding in findings),
        usage=usage or UsageFacts(),
        now=now,
        copied=tuple(copied) if known.effect == "read" and known.sends == "external" else (),
    )


def _authority(tool: ToolFacts, args: Mapping[str, Any], origins: Mapping[str, str]) -> dict[str, str]:
    names = tuple(args) if tool.authority is None else tool.authority
    present = (name for name in names if name in origins or _given(args.get(name)))
    return {name: origins.get(name, "agent") for name in present}


def _given(value: Any) -> bool:
    # An absent or empty list names nobody; every other value, an empty text too, may mean something.
    return value is not None and value != [] and value != {}


def _plain(facts: Any) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(facts).items()}


def _tuples(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()}


FACTS: tuple[Fact, ...] = (
    Fact(
        "args",
        "map(string, dyn)",
        "The arguments of the call. An optional one may be absent: ask has(args.x) first.",
        "size(args.to) > 100",
        lambda facts: facts.args,
    ),
    Fact("tool.name", "string", "The tool.", "tool.name == 'email.send'", lambda facts: facts.tool.name),
    Fact(
        "tool.effect",
        "string",
        "What it does to the world: read, write or destructive.",
        "tool.effect != 'read'",
        lambda facts: facts.tool.effect,
    ),
    Fact(
        "tool.sends",
        "string",
        "Where it carries data to: none, internal or external.",
        "tool.sends == 'external'",
        lambda facts: facts.tool.sends,
    ),
    Fact(
        "tool.output",
        "string",
        "Who could have written what it returns: trusted or untrusted.",
        "tool.output == 'untrusted'",
        lambda facts: facts.tool.output,
    ),
    Fact(
        "tool.returns",
        "list(string)",
        "What its output holds: private, secret.",
        "'private' in tool.returns",
        lambda facts: list(facts.tool.returns),
    ),
    Fact(
        "tool.labels",
        "list(string)",
        "Labels given to the tool.",
        "'finance' in tool.labels",
        lambda facts: list(facts.tool.labels),
    ),
    Fact(
        "tool.runs",
        "string",
        "What runs it: agent (the agent itself), python or shell (the sandbox), credential, sql, http, mcp.",
        "tool.runs in ['python', 'shell']",
        lambda facts: facts.tool.runs,
    ),
    Fact(
        "tool.declared",
        "bool",
        "Whether anybody declared the tool. One that nobody did counts as destructive and external.",
        "!tool.declared",
        lambda facts: facts.tool.declared,
    ),
    Fact(
        "agent.name",
        "string",
        "Who calls.",
        "agent.name.startsWith('billing-')",
        lambda facts: facts.agent.name,
    ),
    Fact(
        "agent.mode",
        "string",
        "read_only, standard or paused.",
        "agent.mode == 'standard'",
        lambda facts: facts.agent.mode,
    ),
    Fact(
        "agent.team", "string", "The agent's team.", "agent.team == 'finance'", lambda facts: facts.agent.team
    ),
    Fact(
        "agent.labels",
        "list(string)",
        "Labels given to the agent.",
        "'trial' in agent.labels",
        lambda facts: list(facts.agent.labels),
    ),
    Fact(
        "session.labels",
        "list(string)",
        "What the session has met so far: untrusted, private, secret, injection.",
        "'untrusted' in session.labels",
        lambda facts: list(facts.session.labels),
    ),
    Fact(
        "session.age", "int", "Seconds since it began.", "session.age > 3600", lambda facts: facts.session.age
    ),
    Fact(
        "session.calls",
        "int",
        "Actions proposed in it so far.",
        "session.calls > 200",
        lambda facts: facts.session.calls,
    ),
    Fact("session.user", "string", "Whom it serves.", "session.user != ''", lambda facts: facts.session.user),
    Fact(
        "session.attested",
        "bool",
        "Whether the host application, not the agent itself, opened it.",
        "!session.attested",
        lambda facts: facts.session.attested,
    ),
    Fact(
        "session.purpose",
        "string",
        "What the host application opened it for, in words; empty where only the agent said so.",
        "session.purpose == 'Monthly report'",
        lambda facts: facts.session.purpose,
    ),
    Fact(
        "session.tools",
        "list(string)",
        "The tools (names, patterns) that the host application opened it for; empty if it named none.",
        "session.tools == [] && tool.sends == 'external'",
        lambda facts: list(facts.session.tools),
    ),
    Fact(
        "session.covers",
        "bool",
        "Whether it was opened for this tool, or for any. No pattern covers an undeclared tool.",
        "!session.covers",
        lambda facts: facts.session.covers,
    ),
    Fact(
        "session.read",
        "list(string)",
        "Tools whose output it has met: those started in it, and those whose result it was told. One that "
        "the agent opened itself also has what the agent read elsewhere in the last 24 hours.",
        "'payroll.read' in session.read && tool.sends == 'external'",
        lambda facts: list(facts.session.read),
    ),
    Fact(
        "session.did",
        "list(string)",
        "Tools with side effects (effect write or destructive) that were started in it.",
        "!('tests.run' in session.did)",
        lambda facts: list(facts.session.did),
    ),
    Fact(
        "session.last",
        "string",
        "The tool that was started last in it; empty before the first.",
        "session.last == 'payee.change'",
        lambda facts: facts.session.last,
    ),
    Fact(
        "origin",
        "map(string, string)",
        "Origin of each argument (of a list its worst): user, named, trusted, reviewer, agent, untrusted.",
        "has(origin.body) && origin.body == 'untrusted'",
        lambda facts: facts.origin,
    ),
    Fact(
        "authority",
        "map(string, string)",
        "The same for the arguments alone that say who or what is affected.",
        "authority.exists(name, authority[name] in ['untrusted', 'agent'])",
        lambda facts: facts.authority,
    ),
    Fact(
        "copied",
        "list(string)",
        "Of a tool that reads outside: arguments that are a link as it stands in a message, sign by sign.",
        "authority.exists(name, authority[name] == 'untrusted' && !(name in copied))",
        lambda facts: list(facts.copied),
    ),
    Fact(
        "linked",
        "list(string)",
        "Arguments in which a link stands, also within a list or an object.",
        "linked.exists(name, origin[name] == 'untrusted')",
        lambda facts: facts.linked,
    ),  # fmt: skip
    Fact(
        "findings",
        "list(map(string, string))",
        "What the firewall found in the arguments: detector, severity (low, medium, high) and why.",
        "findings.exists(f, f.detector == 'secrets')",
        lambda facts: list(facts.findings),
    ),
    Fact(
        "usage.minute",
        "int",
        "Actions of the agent in this minute.",
        "usage.minute > 30",
        lambda facts: facts.usage.minute,
    ),
    Fact(
        "usage.day", "int", "Actions of the agent today.", "usage.day > 1000", lambda facts: facts.usage.day
    ),
    Fact(
        "usage.pending",
        "int",
        "Actions of the agent that wait for people.",
        "usage.pending > 10",
        lambda facts: facts.usage.pending,
    ),
    Fact(
        "now",
        "timestamp",
        "When the call is judged, UTC.",
        "now.getHours('Europe/Berlin') >= 18",
        lambda facts: facts.now,
    ),
)


def activation(facts: Facts) -> dict[str, Any]:
    """The value of every fact by its name, as the engine binds them."""
    return {fact.name: fact.read(facts) for fact in FACTS}
