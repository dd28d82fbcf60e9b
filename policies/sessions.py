"""Sessions: who opened them, what was said in them and by whom, and which labels they have gathered.

Who may say what the user said decides everything. Only a key with `attest`, held by the host application,
writes user and system messages or trusted results as such, or opens a session with clean labels. The same
event from a key without it counts as the agent's own words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from policies import limits, provenance, records, releases, rendition
from policies.calls import Call
from policies.echoes import echoed
from policies.firewall import Finding, Inspection, inspect, known
from policies.heard import sources as sources
from policies.labels import gather, remembered
from policies.models import Agent, AgentKey, Source
from policies.purpose import narrowed, needed
from policies.structured import Matter, follow
from policies.tooling import ToolDef
from policies.trail import begin, note_told
from traces import clean, record
from traces.models import Entry, Session
from traces.problems import Refused

KINDS = (
    "user_message", "system_message", "reasoning", "retrieval", "artifact", "tool_result", "model_output",
)  # fmt: skip
MESSAGES = ("user_message", "system_message")
OWN_WORDS = ("reasoning", "model_output")
READ = ("retrieval", "artifact", "tool_result")
MAX_TEXT = 1 << 20
MAX_QUOTED = 1000
AGENTSEC = "agentsec"
_LENGTHS = {"purpose": 2000, "user": 150, "external_id": 200}

Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class EventAnswer:
    """What became of an event. `text` is what may go on to the agent, "" when the verdict is block."""

    entry: UUID
    verdict: str
    text: str
    findings: tuple[dict[str, Any], ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Returned:
    """A tool's output as it may go on (`output`), as text, with what was found in it."""

    entry: UUID
    output: Any
    text: str
    verdict: str
    findings: list[dict[str, Any]]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class _Said:
    """An event as it was read: `quoted` are the spans of `inspection.text` that its writer only passed on;
    `matter` is what arguments are matched against.
    """

    kind: str
    origin: str
    tool: str
    text: str
    inspection: Inspection
    quoted: Spans
    matter: Matter
    key: AgentKey


def open_session(
    *,
    agent: Agent,
    key: AgentKey,
    purpose: str = "",
    user: str = "",
    external_id: str = "",
    parent: UUID | str | None = None,
    tools: Iterable[str] | None = None,
) -> Session:
    """Open a session of this agent, for these tools (names, patterns; None for any). A key without `attest`
    cannot shed labels: the session begins with those that the agent gathered in the last 24 hours and those
    of its parent. Nor can it widen what its parent was opened for.

    Appends `session.opened`. Raises Refused: not_found (parent), invalid (too long, a NUL, no tool's name),
    forbidden (another agent's key, a tool that the parent was not opened for).
    """
    _refuse_foreign(agent, key)
    given = {"purpose": purpose, "user": user, "external_id": external_id}
    for field, text in given.items():
        _refuse_unreadable(field, text)
        if names := known.current().names(text):
            raise Refused("invalid", f"`{field}` holds the value of the secret {names[0]}.")
    above = get_session(agent, parent) if parent else None
    named = needed(tools)
    if above is not None and not key.attests:
        named = narrowed(above.tools, named)
    labels = () if key.attests else remembered(agent, now=timezone.now()) | set(above.labels if above else ())
    with transaction.atomic():
        session = record.open_session(
            agent_id=str(agent.pk), agent_name=agent.name, team=agent.team.name if agent.team else "",
            actor=_actor(agent), parent=above, labels=labels, attested=key.attests, tools=named, **given,
        )  # fmt: skip
        begin(session=session, above=above)
    return session


def get_session(agent: Agent, session_id: UUID | str) -> Session:
    """The agent's session of that id. Raises Refused("not_found") for any other, another agent's included."""
    try:
        wanted = session_id if isinstance(session_id, UUID) else UUID(str(session_id))
    except ValueError:
        wanted = None
    session = Session.objects.of_agent(str(agent.pk)).filter(pk=wanted).first() if wanted else None
    if session is None:
        raise Refused("not_found", "This agent has no such session.")
    return session


def add_event(
    *,
    agent: Agent,
    key: AgentKey,
    session: Session,
    kind: str,
    text: str,
    tool: str = "",
    quoted: Iterable[Sequence[int]] = (),
) -> EventAnswer:
    """Record what was said or read in a session; the firewall says what of it may go on to the agent.

    `quoted` are spans (start, end; code points) of a message that its writer only passed on. Locks the
    session. Appends `session.<kind>` and, where labels are new, `session.labelled`. Raises Refused: not_found
    (another agent's session), invalid (kind, spans), too_large (more than 1 MiB of UTF-8).
    """
    _refuse_foreign(agent, key)
    session = get_session(agent, session.pk)
    limits.admit_text(agent, octets=len(text))
    active = releases.current()
    said, met = _hear(kind, text, tool, quoted, key, active)
    inspection = said.inspection
    with transaction.atomic():
        entry = _record(said, agent, session)
        labels = gather(session=session, labels=met, why=f"{kind} was read", actor=_actor(agent))
        if tool and kind in READ:
            note_told(session=session, tool=active.tool(tool))
    findings = tuple(asdict(finding) for finding in inspection.findings)
    return EventAnswer(entry.uuid, inspection.verdict, inspection.text, findings, tuple(labels))


def add_output(
    *,
    session: Session,
    tool_name: str,
    output: Any,
    action_id: str | None = None,
    attested: bool = False,
    call: Call | None = None,
) -> Returned:
    """Record what a tool returned in a session, screened; the labels that follow from it are gathered.

    What agentsec ran itself is vouched for as the tool is declared. What an agent reports of a tool that it
    ran (`runs: agent`, `credential`) is trusted only where the reporting key attests. `call` says how it was
    called, where that is known: a record may then be chosen by what it is. Needs a transaction.
    Locks the session. Appends `session.tool_result` and, where labels are new, `session.labelled`.
    """
    tool = releases.current().tool(tool_name)
    screened = rendition.screen(output, source=f"tool:{tool.name}")
    origin = _origin("tool_result", attested=attested or tool.runs not in ("agent", "credential"), tool=tool)
    outsiders: Spans = ()
    if origin == "trusted":
        shown = screened.rendition
        outsiders = (*shown.of_fields(tool.untrusted_fields), *echoed(shown, call))
    body = {
        "tool": tool.name, "origin": origin, "verdict": screened.verdict, "findings": list(screened.findings),
        "labels": list(screened.labels), "output": screened.output,
    }  # fmt: skip
    entry = record.append(
        kind="session.tool_result", actor=AGENTSEC, session=session, action=action_id, body=body,
        title=f"{tool.name} returned", text=screened.rendition.text, attributes={"tool": tool.name},
    )  # fmt: skip
    _remember_text(session, entry, origin, "tool_result", tool.name, screened.rendition.text, outsiders,
                   screened.rendition.fields() if origin == "trusted" else (), call)  # fmt: skip
    met = {*tool.labels_given, *screened.labels}
    labels = gather(session=session, labels=met, why=f"{tool.name} returned", actor=AGENTSEC)
    return Returned(
        entry=entry.uuid, output=screened.output, text=screened.rendition.text, verdict=screened.verdict,
        findings=list(screened.findings), labels=tuple(labels),
    )  # fmt: skip


@dataclass(frozen=True)
class Rehearsed:
    """What an event would come to: its text as it goes on, as a source of arguments, and the new labels."""

    verdict: str
    text: str
    source: provenance.Source | None
    findings: tuple[dict[str, Any], ...]
    labels: frozenset[str]


def rehearse(
    *, kind: str, text: str, tool: str, quoted: Spans, key: AgentKey, active: releases.Active
) -> Rehearsed:
    """What `add_event` would make of this event, with nothing recorded. Raises Refused as it does."""
    said, met = _hear(kind, text, tool, quoted, key, active)
    seen, reached = said.inspection, said.inspection.verdict != "block"
    matter = said.matter
    source = provenance.Source(
        "", said.origin, matter.text, kind=kind, who=tool, quoted=matter.quoted,
        fields=records.fields(matter.fields),
    )  # fmt: skip
    told = tuple(asdict(finding) for finding in seen.findings)
    return Rehearsed(seen.verdict, seen.text, source if reached else None, told, frozenset(met))


def _hear(
    kind: str, text: str, tool: str, quoted: Iterable[Sequence[int]], key: AgentKey, active: releases.Active
) -> tuple[_Said, set[str]]:
    """An event as it was read, and the labels that it brings."""
    _refuse_event(kind, text, tool)
    direction = "input" if kind in MESSAGES else "output"
    source = f"tool:{tool}" if tool else kind
    inspection = inspect(text, direction=direction, source=source)
    passed_on = _carried(text, _spans(quoted, len(text)), inspection, direction, source)
    definition = active.tool(tool) if tool else None
    origin = _origin(kind, attested=key.attests, tool=definition)
    matter = follow(inspection.text, origin=origin, tool=definition, quoted=passed_on)
    said = _Said(kind, origin, tool, text, inspection, passed_on, matter, key)
    return said, _labels(said, definition)


def _origin(kind: str, *, attested: bool, tool: ToolDef | None) -> str:
    """What a text's writer may vouch for."""
    if kind in OWN_WORDS:
        return "agent"
    if kind in MESSAGES:
        return "user" if attested else "agent"
    if tool is not None and tool.output == "trusted":
        return "trusted" if attested else "agent"
    return "untrusted"


def _labels(said: _Said, tool: ToolDef | None) -> set[str]:
    """What the session has met by this event."""
    if said.kind in OWN_WORDS:
        return set()
    if said.kind in MESSAGES and said.key.attests:
        reached = said.inspection.verdict != "block"
        return {"untrusted"} if said.quoted and reached else set()
    if said.kind in MESSAGES:
        # Whoever holds this key had read the text before we did, whatever it calls it.
        hostile = any(finding.severity == "high" for finding in _instructing(said.inspection))
        return {name for name, met in (("injection", hostile), ("untrusted", said.quoted)) if met}
    given = set(tool.labels_given) if tool is not None else {"untrusted"}
    return given | set(said.inspection.labels) | set(said.matter.labels)


def _instructing(inspection: Inspection) -> list[Finding]:
    return [finding for finding in inspection.findings if finding.detector in ("override", "leak")]


def _record(said: _Said, agent: Agent, session: Session) -> Entry:
    exact = rendition.masked(said.text, said.inspection)
    passed_on = said.inspection.text if said.inspection.text != exact else None
    body = {
        "text": exact, "sha256": sha256(said.text.encode("utf-8", "surrogatepass")).hexdigest(),
        "origin": said.origin, "tool": said.tool, "quoted": [list(span) for span in said.quoted],
        "verdict": said.inspection.verdict, "passed_on": passed_on, "key": said.key.prefix,
        "findings": [asdict(finding) for finding in said.inspection.findings],
    }  # fmt: skip
    entry = record.append(
        kind=f"session.{said.kind}", actor=_actor(agent), session=session, body=body,
        title=said.kind.replace("_", " ") + (f" of {said.tool}" if said.tool else ""), text=exact,
        attributes={"origin": said.origin, "verdict": said.inspection.verdict},
    )  # fmt: skip
    # What was held back never reached the agent, so it explains no argument and vouches for none.
    if said.inspection.verdict != "block":
        who = session.user if said.origin == "user" else said.tool or agent.name
        matter = said.matter
        _remember_text(session, entry, said.origin, said.kind, who, matter.text, matter.quoted, matter.fields)
    return entry


def _remember_text(
    session: Session,
    entry: Entry,
    origin: str,
    kind: str,
    who: str,
    text: str,
    quoted: Spans,
    fields: Sequence[Sequence[Any]] = (),
    call: Call | None = None,
) -> None:
    if origin != "agent" and text:
        Source.objects.create(
            session=session, entry=entry.uuid, origin=origin, kind=kind, who=clean.storable(who)[:150],
            text=clean.storable(text), quoted=[list(span) for span in quoted], fields=list(fields),
            call=call.to_json() if call else None,
        )  # fmt: skip


def _carried(text: str, spans: Spans, inspection: Inspection, direction: str, source: str) -> Spans:
    """The quoted spans within the text that goes on, which the firewall may have changed.

    Where the pieces do not add up to it (a secret across an edge), all of it counts as quoted.
    """
    if not spans or inspection.text == text or inspection.verdict == "block":
        return spans
    pieces, carried, at, length = [], [], 0, 0
    for start, end in (*spans, (len(text), len(text))):
        for piece, is_quoted in ((text[at:start], False), (text[start:end], True)):
            changed = inspect(piece, direction=direction, source=source).text
            pieces.append(changed)
            if is_quoted and changed:
                carried.append((length, length + len(changed)))
            length += len(changed)
        at = end
    return tuple(carried) if "".join(pieces) == inspection.text else ((0, len(inspection.text)),)


def _spans(quoted: Iterable[Sequence[int]], length: int) -> Spans:
    """The spans in order, overlapping ones joined."""
    spans = [tuple(span) for span in quoted]
    if len(spans) > MAX_QUOTED:
        raise Refused("invalid", f"At most {MAX_QUOTED} passages can be marked as quoted.")
    joined: list[tuple[int, int]] = []
    for span in sorted(spans):
        if len(span) != 2 or not 0 <= span[0] < span[1] <= length:
            raise Refused("invalid", f"A quoted passage is [start, end] within the {length} characters.")
        if joined and span[0] <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], span[1]))
        else:
            joined.append((span[0], span[1]))
    return tuple(joined)


def _refuse_event(kind: str, text: str, tool: str) -> None:
    if kind not in KINDS:
        raise Refused("invalid", f"{kind!r} is not a kind of event: {', '.join(KINDS)}.")
    if len(text) > MAX_TEXT or len(text.encode("utf-8", "surrogatepass")) > MAX_TEXT:
        raise Refused("too_large", "The text of an event is at most 1 MiB.")
    if len(tool) > 100:
        raise Refused("invalid", "A tool's name has at most 100 characters.")


def _refuse_unreadable(field: str, text: str) -> None:
    if len(text) > _LENGTHS[field]:
        raise Refused("invalid", f"{field} has at most {_LENGTHS[field]} characters.")
    if clean.storable(text) != text:
        raise Refused("invalid", f"{field} holds a NUL or a lone surrogate.")


def _refuse_foreign(agent: Agent, key: AgentKey) -> None:
    if key.agent_id != agent.pk:
        raise Refused("forbidden", "This key is another agent's.")


def _actor(agent: Agent) -> str:
    return f"agent:{agent.pk}"
