"""The shapes of requests and answers. Requests are strict: no unknown field, no coerced type, bounded text.

Answers are described for the OpenAPI document and built by the verbs.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from policies.purpose import MAX_TOOLS

MAX_TEXT = 1 << 20
MAX_WAIT = 60.0


def _iso(value: object) -> object:
    # pydantic would also take a number as seconds since 1970, which nobody meant.
    if not isinstance(value, str):
        raise ValueError("a time is a string like 2030-01-31T09:00:00Z")
    return value


def _text_of_a_mebibyte(text: str) -> str:
    if len(text.encode("utf-8", "surrogatepass")) > MAX_TEXT:
        raise ValueError(f"the text has more than {MAX_TEXT} bytes of UTF-8")
    return text


def _capped(seconds: float) -> float:
    return min(seconds, MAX_WAIT)


NO_CONTROL = r"^[^\x00-\x1f\x7f]*$"
NO_NUL = r"^[^\x00]*$"

# PostgreSQL's text holds no NUL; names and keys hold no control characters at all.
Short = Annotated[str, Field(max_length=200, pattern=NO_CONTROL)]
Key = Annotated[str, Field(max_length=200, pattern=NO_CONTROL)]
Prose = Annotated[str, Field(max_length=10_000, pattern=NO_NUL)]
ToolName = Annotated[str, Field(min_length=1, max_length=100, pattern=NO_CONTROL)]
Glob = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_*?][A-Za-z0-9_.@:/+*?-]*$")]
Text = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(_text_of_a_mebibyte)]
Id = Annotated[UUID, Field(strict=False)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Time = Annotated[AwareDatetime, BeforeValidator(_iso), Field(strict=False)]
Wait = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False), AfterValidator(_capped)]
PageSize = Annotated[int, Field(ge=1, le=200)]
PageCursor = Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9_-]*$")]
Range = Annotated[list[Annotated[int, Field(ge=0, le=MAX_TEXT)]], Field(min_length=2, max_length=2)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Nothing(Strict):
    """A call that takes no body; an empty object is also none."""


NOTHING = Nothing()


class SessionIn(Strict):
    purpose: Annotated[str, Field(max_length=2000, pattern=NO_NUL)] = ""
    user: Annotated[
        str, Field(max_length=150, pattern=NO_CONTROL, description="Whom the session serves.")
    ] = ""
    external_id: Short = ""
    parent: Id | None = None
    tools: Annotated[list[Glob], Field(min_length=1, max_length=MAX_TOOLS)] | None = Field(
        None,
        description="The tools that it needs, by name or pattern; a call of any other can be asked about. "
        "Left out: any.",
    )


class EventIn(Strict):
    kind: Literal[
        "user_message", "system_message", "reasoning", "retrieval", "artifact", "tool_result", "model_output"
    ]
    text: Text = Field(description="At most 1 MiB of UTF-8.")
    tool: Annotated[str, Field(max_length=100, pattern=NO_CONTROL, description="Which tool said it.")] = ""
    quoted: list[Range] = Field(
        [], max_length=1000, description="[start, end] in code points: pasted, so untrusted."
    )

    @model_validator(mode="after")
    def ranges_lie_in_the_text(self) -> EventIn:
        for start, end in self.quoted:
            if not start < end <= len(self.text):
                raise ValueError("each quoted range is [start, end] with start < end, inside of the text")
        return self


class ActionIn(Strict):
    session: Id
    tool: ToolName
    args: dict[str, Any] = Field(description='As the tool\'s schema says; a file is {"$file": sha256}.')
    reason: Prose = Field("", description="The agent's own words, shown to reviewers as such.")
    tool_call_id: Short = Field("", description="The model's id of this call: the same id is the same call.")
    not_before: Time | None = Field(None, description="Judged and asked now, started then (RFC 3339).")
    idempotency_key: Short = Field("", description="A repetition under the same key is the same action.")
    wait: Wait = Field(0, description="Seconds to wait for a final answer, at most 60.")


class ResultIn(Strict):
    status: Literal["succeeded", "failed"]
    output: Any = Field(None, description="Inspected; it labels the session.")
    grant: Id | None = Field(None, description="The grant under which it ran.")


class InspectIn(Strict):
    direction: Literal["input", "output"]
    text: Text
    source: Short = ""


class StopIn(Strict):
    why: Annotated[str, Field(max_length=500, pattern=NO_NUL)] = Field("", description="The agent is told.")


class DecisionIn(Strict):
    verdict: Literal["approve", "reject"]
    digest: Digest = Field(description="What was seen and is voted on; another is refused with 409.")
    comment: Prose = Field("", description="With reject needed: it is what the agent is told.")
    args: dict[str, Any] | None = Field(
        None, description="With approve: edit to these arguments and approve them."
    )
    advice: Annotated[str, Field(max_length=2000, pattern=NO_NUL)] = Field(
        "", description="With reject: what the agent should do instead."
    )
    confirm: Prose = Field("", description="The target's name, where the tool is destructive.")
    for_minutes: Annotated[int, Field(ge=1, le=1440)] | None = Field(
        None, description="With approve: allow equal calls of this session for so many minutes too."
    )

    @model_validator(mode="after")
    def edits_only_with_approval(self) -> DecisionIn:
        if self.for_minutes is not None and (self.verdict == "reject" or self.args is not None):
            raise ValueError("for_minutes only goes with approve, and not with args")
        if self.args is not None and self.verdict == "reject":
            raise ValueError("args only go with approve")
        if self.advice and self.verdict == "approve":
            raise ValueError("advice only goes with reject")
        return self


class Out(BaseModel):
    """An answer; it may gain members."""

    model_config = ConfigDict(extra="allow")


class Problem(Out):
    """RFC 9457."""

    type: str
    title: str
    status: int
    code: str
    detail: str


class SessionOut(Out):
    id: UUID
    labels: list[str]
    tools: list[str] = Field(description="What it was opened for; none is any.")


class Finding(Out):
    detector: str
    severity: str
    start: int
    end: int
    why: str


class EventOut(Out):
    entry: UUID
    verdict: Literal["pass", "flag", "rewrite", "block"]
    text: str = Field(description="What may go on to the agent.")
    findings: list[Finding]
    labels: list[str]


class InspectOut(Out):
    verdict: Literal["pass", "flag", "rewrite", "block"]
    text: str
    findings: list[Finding]


class ActionOut(Out):
    id: UUID
    revision: int = Field(description="Raised when a reviewer edits the arguments.")
    state: Literal[
        "blocked", "pending", "ready", "running", "succeeded",
        "failed", "interrupted", "rejected", "expired", "cancelled",
    ]  # fmt: skip
    args: dict[str, Any] = Field(description="As they stand now: run these.")
    digest: str = Field(description="What is voted on, granted and run.")
    verdict: dict[str, Any] = Field(
        description="effect, reasons, rules, release; egress where rules bound it."
    )
    result: Any = None
    grant: dict[str, Any] | None = Field(
        None, description="While it lives the agent may act; credentials come once."
    )
    poll: str
    expires_at: datetime | None = Field(None, description="Until when votes, then a start, are waited for.")
    planned: dict[str, datetime] | None = Field(
        None,
        description="Of a call put off until later: `not_before`, and `start_by`, until when approval holds.",
    )
    error: str | None = None
    confirmation: dict[str, Any] | None = Field(
        None,
        description="Where its user's own word is asked for: state (waiting, given, impossible) and why.",
    )
    held: str | None = Field(None, description="Why nothing starts now: who stopped it, and the reason.")
    questions: list[dict[str, Any]] = Field(
        [], description="What reviewers ask: id, text, by, at; answer. `POST …/answers` answers."
    )
    rejection: dict[str, Any] | None = Field(
        None,
        description="`reason`: why people said no, or that nobody decided; `advice` what to do instead.",
    )


class FileOut(Out):
    sha256: str
    size: int


class InboxOut(Out):
    actions: list[dict[str, Any]]
    next: str | None


class DecisionOut(Out):
    effect: str
    message: str
    action: ActionOut
    allowance: dict[str, Any] | None = Field(None, description="What `for_minutes` made.")
    claim: dict[str, Any] | None = Field(None, description="Who had claimed it when you decided it anyway.")


class StopOut(Out):
    effect: Literal["cancelled", "stopping"] = Field(
        description="cancelled: it never starts; stopping: it ends within a second."
    )
    message: str
    id: UUID
    state: str


class ProofOut(Out):
    entry: UUID
    index: int
    hashes: list[str]
    checkpoint: str


class EntryOut(Out):
    entry: UUID
    index: int | None
    header: str
    sealed: str
    leaf_hash: str


def _media(media_type: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "contentMediaType": media_type})


# Answers that are not JSON, for the OpenAPI description.
Raw = Annotated[bytes, _media("application/octet-stream")]
Zip = Annotated[bytes, _media("application/zip")]
Note = Annotated[str, _media("text/plain")]
ERRORS: dict[tuple[int, ...], type[Problem]] = {
    (400, 401, 403, 404, 409, 410, 413, 415, 422, 429, 503): Problem
}
