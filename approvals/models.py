"""What people decide and what then runs: actions, their revisions, votes, executions, files."""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q

from approvals.attention_models import Look  # noqa: F401 - Django finds models here
from approvals.collab_models import Question  # noqa: F401 - Django finds models here
from approvals.growth_models import (  # noqa: F401 - Django finds models here
    AccessReview,
    Chore,
    LastUse,
    Promotion,
    Suggestion,
)
from approvals.live_models import Change  # noqa: F401 - Django finds models here
from approvals.notice_models import Notice, Occasion, Outlet  # noqa: F401 - Django finds models here
from approvals.shadow_models import ShadowRelease, ShadowVerdict  # noqa: F401 - Django finds models here
from approvals.sql_models import StatementPlan  # noqa: F401 - Django finds models here
from approvals.warning_models import Warned, WarningNotice  # noqa: F401 - Django finds models here
from approvals.watch_models import JobWatch  # noqa: F401 - Django finds models here
from approvals.widening_models import Widening  # noqa: F401 - Django finds models here
from approvals.word_models import ConfirmationLink, Word  # noqa: F401 - Django finds models here
from traces import dbtime


class ActionQuerySet(models.QuerySet["Action"]):
    def pending(self) -> ActionQuerySet:
        return self.filter(state=Action.State.PENDING)

    def overdue(self, now: datetime) -> ActionQuerySet:
        return self.filter(state__in=[Action.State.PENDING, Action.State.READY], deadline__lte=now)

    def startable(self, now: datetime) -> ActionQuerySet:
        return self.filter(
            Q(not_before=None) | Q(not_before__lte=now), state=Action.State.READY, deadline__gt=now
        )


class Action(models.Model):
    """One call that an agent wants to make, from proposal to end. Its state changes only through
    `states.move`.
    """

    class State(models.TextChoices):
        BLOCKED = "blocked", "Blocked"
        PENDING = "pending", "Waiting"
        READY = "ready", "Ready"
        RUNNING = "running", "Running"
        SUCCEEDED = "succeeded", "Succeeded"
        FAILED = "failed", "Failed"
        INTERRUPTED = "interrupted", "Interrupted"
        REJECTED = "rejected", "Rejected"
        EXPIRED = "expired", "Expired"
        CANCELLED = "cancelled", "Cancelled"

    OPEN = (State.PENDING, State.READY, State.RUNNING)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    session = models.ForeignKey("traces.Session", on_delete=models.PROTECT, related_name="actions")
    agent = models.ForeignKey("policies.Agent", on_delete=models.PROTECT, related_name="actions")
    team = models.CharField(max_length=150, blank=True)
    tool = models.CharField(max_length=100)
    runs = models.CharField(max_length=12)
    effect = models.CharField(max_length=12)
    idempotent = models.BooleanField(default=False)
    manifest = models.CharField(max_length=64)
    revision = models.PositiveIntegerField(default=1)
    args_json = models.TextField(help_text="Canonical JSON (RFC 8785) of the current revision.")
    call_digest = models.CharField(max_length=64)
    digest = models.CharField(max_length=64)
    target = models.TextField(blank=True)
    summary = models.TextField(blank=True)
    reason = models.TextField(blank=True, help_text="The agent's own words.")
    state = models.CharField(max_length=12, choices=State)
    release = models.CharField(max_length=64)
    verdict_json = models.TextField()
    facts_json = models.TextField()
    origins_json = models.TextField(default="{}")
    findings_json = models.TextField(default="[]")
    approvals_json = models.TextField(default="[]", help_text="Groups asked: group, quorum, rule, step_up.")
    groups = models.JSONField(default=list, help_text="Names of the groups asked, for the inbox's filter.")
    needs_other_than = models.CharField(
        max_length=150,
        blank=True,
        help_text="Editor of an authority argument: one vote must be somebody else's.",
    )
    allowance = models.ForeignKey(
        "policies.Allowance", on_delete=models.PROTECT, null=True, blank=True, related_name="+",
        db_index=False, help_text="What answered its asking in advance, as long as it starts by that.",
    )  # fmt: skip
    door = models.CharField(max_length=10, default="rest")
    tool_call_id = models.CharField(max_length=200, blank=True)
    idempotency_key = models.CharField(max_length=200, blank=True)
    not_before = models.DateTimeField(null=True, blank=True)
    deadline = models.DateTimeField(help_text="While pending: votes by then; while ready: start by then.")
    escalates_at = models.DateTimeField(
        null=True, blank=True, help_text="While pending: when others are asked."
    )
    created_at = models.DateTimeField(default=dbtime.now)
    changed_at = models.DateTimeField(default=dbtime.now)
    decided_by = models.CharField(max_length=150, blank=True)
    decision_reason = models.TextField(blank=True)
    advice = models.TextField(blank=True, help_text="What whoever rejected it says to do instead.")
    claimed_by = models.CharField(max_length=150, blank=True, help_text="Who says that they decide it.")
    claimed_at = models.DateTimeField(null=True, blank=True)
    claimed_until = models.DateTimeField(null=True, blank=True)
    talk = models.CharField(max_length=8, blank=True, help_text="asked, or answered: see its questions.")
    fence = models.BigIntegerField(default=0)
    result_json = models.TextField(blank=True)
    error = models.TextField(blank=True)

    objects = ActionQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(name="action_inbox", fields=["state", "-created_at", "id"]),
            models.Index(name="action_of_session", fields=["session", "created_at"]),
            models.Index(name="action_of_agent", fields=["agent", "state"]),
            models.Index(name="action_by_time", fields=["created_at", "id"]),
            models.Index(name="action_of_tool", fields=["agent", "tool", "created_at"]),
            models.Index(name="action_asked", fields=["created_at"], condition=~Q(approvals_json="[]")),
            models.Index(
                name="action_escalates",
                fields=["escalates_at"],
                condition=Q(state="pending", escalates_at__isnull=False),
            ),
            models.Index(
                name="action_claimed", fields=["claimed_until"], condition=Q(claimed_until__isnull=False)
            ),
            # The inbox's order; with the groups in it, finding and counting what waits reads no action.
            models.Index(
                name="action_pending",
                fields=["deadline", "id"],
                include=["groups"],
                condition=Q(state="pending"),
            ),
            models.Index(
                name="action_open_deadline", fields=["deadline"], condition=Q(state__in=["pending", "ready"])
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                name="action_idempotent",
                fields=["agent", "idempotency_key"],
                condition=~Q(idempotency_key=""),
            ),
            models.CheckConstraint(name="action_revision_positive", condition=Q(revision__gte=1)),
            models.CheckConstraint(
                name="action_state_known",
                condition=Q(
                    state__in=[
                        "blocked", "pending", "ready", "running", "succeeded",
                        "failed", "interrupted", "rejected", "expired", "cancelled",
                    ]
                ),
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"{self.tool} {str(self.id)[:8]}"

    @property
    def args(self) -> dict[str, Any]:
        return dict(json.loads(self.args_json))

    @property
    def verdict(self) -> dict[str, Any]:
        return dict(json.loads(self.verdict_json))

    @property
    def approvals(self) -> list[dict[str, Any]]:
        return list(json.loads(self.approvals_json))

    @property
    def origins(self) -> dict[str, Any]:
        return dict(json.loads(self.origins_json))

    @property
    def findings(self) -> list[dict[str, Any]]:
        return list(json.loads(self.findings_json))

    @property
    def result(self) -> Any:
        return json.loads(self.result_json) if self.result_json else None

    @property
    def is_open(self) -> bool:
        return self.state in self.OPEN


class Revision(models.Model):
    """The arguments as they stood in one revision; insert-only by use."""

    action = models.ForeignKey(Action, on_delete=models.CASCADE, related_name="revisions")
    number = models.PositiveIntegerField()
    args_json = models.TextField()
    digest = models.CharField(max_length=64)
    by = models.CharField(max_length=150)
    why = models.TextField(blank=True)
    at = models.DateTimeField(default=dbtime.now)

    class Meta:
        ordering = ["number"]
        constraints = [models.UniqueConstraint(name="revision_once", fields=["action", "number"])]


class Vote(models.Model):
    """One person's word on one revision. Void when the revision changes or the person undoes it."""

    class Verdict(models.TextChoices):
        APPROVE = "approve"
        REJECT = "reject"

    action = models.ForeignKey(Action, on_delete=models.CASCADE, related_name="votes")
    revision = models.PositiveIntegerField()
    digest = models.CharField(max_length=64)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="votes")
    group = models.CharField(max_length=150)
    verdict = models.CharField(max_length=7, choices=Verdict)
    comment = models.TextField(blank=True)
    channel = models.CharField(max_length=10, default="browser")
    at = models.DateTimeField(default=dbtime.now)
    void = models.BooleanField(default=False)
    entry = models.UUIDField(help_text="The log entry that holds this vote.")

    class Meta:
        ordering = ["at"]
        indexes = [models.Index(name="vote_by_time", fields=["at"])]
        constraints = [
            models.UniqueConstraint(
                name="vote_one_a_person", fields=["action", "user"], condition=Q(void=False)
            ),
        ]

    @property
    def undoable(self) -> bool:
        """Whether its voter is offered to take it back; nothing starts for those seconds."""
        return self.channel == "browser"


class Execution(models.Model):
    """One start of an action. `fence` is the token that everything it uses checks."""

    action = models.ForeignKey(Action, on_delete=models.CASCADE, related_name="executions")
    fence = models.BigIntegerField(unique=True)
    worker = models.CharField(max_length=100)
    started_at = models.DateTimeField(default=dbtime.now)
    heartbeat_at = models.DateTimeField(default=dbtime.now)
    stop_requested = models.CharField(max_length=150, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    ended = models.CharField(max_length=20, blank=True)
    exit_status = models.IntegerField(null=True, blank=True)
    tier = models.CharField(max_length=20, blank=True)
    interpreter = models.CharField(max_length=100, blank=True)
    stdout = models.TextField(blank=True)
    stderr = models.TextField(blank=True)
    usage = models.JSONField(default=dict)

    class Meta:
        ordering = ["fence"]
        constraints = [
            models.UniqueConstraint(
                name="execution_one_at_a_time", fields=["action"], condition=Q(ended_at=None)
            ),
        ]


class Blob(models.Model):
    """Content by SHA-256: files that agents upload and artifacts that jobs leave."""

    sha256 = models.CharField(max_length=64, primary_key=True)
    content = models.BinaryField()
    size = models.PositiveIntegerField()
    at = models.DateTimeField(default=dbtime.now)


class BlobOwner(models.Model):
    """Which agent may name a blob: knowing a hash is no right to its content."""

    blob = models.ForeignKey(Blob, on_delete=models.CASCADE)
    agent = models.ForeignKey("policies.Agent", on_delete=models.CASCADE)

    class Meta:
        constraints = [models.UniqueConstraint(name="blob_owner_once", fields=["blob", "agent"])]


class Artifact(models.Model):
    execution = models.ForeignKey(Execution, on_delete=models.CASCADE, related_name="artifacts")
    name = models.CharField(max_length=255)
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(name="artifact_name_once", fields=["execution", "name"])]


class Backtest(models.Model):
    """A draft tried on past calls, step by step; it says what would have been different."""

    release = models.CharField(max_length=64, help_text="Digest of the draft as it was frozen for this.")
    content = models.TextField(help_text="Canonical JSON (RFC 8785) of that draft.")
    since = models.DateTimeField()
    until = models.DateTimeField()
    last_at = models.DateTimeField(help_text="Where it stands: calls up to this one are judged.")
    last_id = models.UUIDField(default=uuid.UUID(int=0))
    total = models.PositiveIntegerField(help_text="Calls to judge, counted at the start.")
    difference_json = models.TextField()
    by = models.CharField(max_length=150)
    started_at = models.DateTimeField(default=dbtime.now)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"backtest {self.pk}"
