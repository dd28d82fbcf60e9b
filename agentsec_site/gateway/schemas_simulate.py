"""The shapes of the simulator's call."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from agentsec_site.gateway.schemas import (
    NO_CONTROL,
    NO_NUL,
    Glob,
    Out,
    Prose,
    Range,
    Short,
    Strict,
    Text,
    Time,
    ToolName,
)
from approvals.simulate import MAX_STEPS
from policies.purpose import MAX_TOOLS
from policies.sessions import KINDS

Origin = Literal["user", "named", "trusted", "reviewer", "agent", "untrusted"]
Origins = Annotated[dict[Short, Origin], Field(max_length=200)]
Label = Annotated[str, Field(min_length=1, max_length=64, pattern=NO_CONTROL)]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
EventKind = Literal[
    "user_message", "system_message", "reasoning", "retrieval", "artifact", "tool_result", "model_output"
]
assert set(EventKind.__args__) == set(KINDS)  # type: ignore[attr-defined]


class FindingIn(Strict):
    detector: Short
    severity: Literal["low", "medium", "high"]
    why: Prose = ""


class CallIn(Strict):
    kind: Literal["call"] = "call"
    tool: ToolName
    args: dict[str, Any] = Field(default_factory=dict)
    origin: Origins = Field(
        default_factory=dict, description="By argument; replaces what would be traced in the session."
    )
    findings: Annotated[list[FindingIn], Field(max_length=200)] | None = Field(
        None, description="Replaces what the firewall would find in the arguments."
    )
    approved: bool = Field(True, description="Whether people approve it, where it is asked about.")


class EventStep(Strict):
    kind: EventKind
    text: Text
    tool: Annotated[str, Field(max_length=100, pattern=NO_CONTROL)] = ""
    quoted: list[Range] = Field(default_factory=list, max_length=1000)


class SessionWish(Strict):
    labels: Annotated[list[Label], Field(max_length=50)] = Field(default_factory=list)
    user: Annotated[str, Field(max_length=150, pattern=NO_CONTROL)] = ""
    attested: bool = Field(
        default=True, description="Whether the host application vouches for what the user said."
    )
    age: Count = 0
    calls: Count = 0
    purpose: Annotated[str, Field(max_length=2000, pattern=NO_NUL)] = ""
    tools: Annotated[list[Glob], Field(max_length=MAX_TOOLS)] = Field(
        default_factory=list, description="What it was opened for; none is any."
    )
    read: Annotated[list[ToolName], Field(max_length=1000)] = Field(
        default_factory=list, description="Tools whose output it has met before."
    )
    did: Annotated[list[ToolName], Field(max_length=1000)] = Field(
        default_factory=list, description="Tools with side effects that were started in it before."
    )
    last: Annotated[str, Field(max_length=100, pattern=NO_CONTROL)] = ""


class UsageWish(Strict):
    minute: Count = 1
    day: Count = 1
    pending: Count = 0


class SimulateIn(Strict):
    """One call (`tool`, `args`, …) or `steps`, never both."""

    agent: Short
    draft: bool = Field(False, description="Judge by the draft instead of the release that decides now.")
    session: SessionWish = SessionWish()
    usage: UsageWish = UsageWish()
    now: Time | None = None
    tool: ToolName | None = None
    args: dict[str, Any] = Field(default_factory=dict)
    origin: Origins = Field(default_factory=dict)
    findings: Annotated[list[FindingIn], Field(max_length=200)] | None = None
    steps: Annotated[list[CallIn | EventStep], Field(max_length=MAX_STEPS)] = Field(default_factory=list)

    @model_validator(mode="after")
    def one_call_or_steps(self) -> SimulateIn:
        if (self.tool is None) == (not self.steps):
            raise ValueError("name either one call by `tool`, or `steps`")
        if self.steps and (self.args or self.origin or self.findings is not None):
            raise ValueError("with `steps`, args, origin and findings belong to each call")
        return self


class SimulateOut(Out):
    release: str = Field(description="Digest of the rules that judged.")
    draft: bool
    steps: list[dict[str, Any]] = Field(
        description="Of a call: effect (allow, ask, block, refused), reasons, considered, rules (each that "
        "was asked: its text, its condition, the pieces of that, the values it saw), elsewhere (each that "
        "was not and why), approvals, facts, held, labels. Of an event: verdict, text, findings, labels."
    )
