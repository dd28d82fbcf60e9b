"""What a reviewer allows for a while: one tool on one target in one session, for minutes."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.utils import timezone


class AllowanceQuerySet(models.QuerySet["Allowance"]):
    def standing(self, now: datetime, *, release_id: int) -> AllowanceQuerySet:
        """Those that may still answer something: not revoked, not over, and made under this release."""
        return self.filter(ended_at=None, until__gt=now, release_id=release_id)

    def due(self, now: datetime, *, release_id: int) -> AllowanceQuerySet:
        """Those that ended by themselves and do not say so yet."""
        return self.filter(ended_at=None).exclude(until__gt=now, release_id=release_id)


class Allowance(models.Model):
    """One person's answer, in advance, to what named rules ask about equal calls of one session.

    Everything but the fields of use and end is fixed when it is made, and stands sealed in the log as well:
    a row that the log does not hold answers nothing (`policies.allowances`).
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    session = models.ForeignKey("traces.Session", on_delete=models.PROTECT, related_name="allowances")
    agent = models.ForeignKey("policies.Agent", on_delete=models.PROTECT, related_name="allowances")
    tool = models.CharField(max_length=100)
    target = models.TextField(blank=True)
    same = ArrayField(models.CharField(max_length=100), help_text="The arguments that must be the same.")
    call = models.CharField(max_length=64, help_text="Digest of the tool's definition, target and `same`.")
    labels = ArrayField(models.CharField(max_length=64), default=list, blank=True)
    origins = models.JSONField(default=dict, help_text="Origin of each value that must be the same.")
    findings = models.JSONField(default=list, help_text="What the firewall had found in the arguments.")
    most = models.JSONField(default=dict, help_text="The largest number in each argument that may differ.")
    rules = ArrayField(models.CharField(max_length=100), help_text="The rules whose asking it answers.")
    release = models.CharField(max_length=64)
    release_id = models.BigIntegerField()
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="allowances")
    group = models.CharField(max_length=150)
    action_id = models.UUIDField(help_text="The action whose approval made it.")
    vote = models.UUIDField(help_text="The log entry that holds that approval.")
    made_at = models.DateTimeField(default=timezone.now)
    starts_at = models.DateTimeField(help_text="Nothing starts by it before: until then it can be undone.")
    until = models.DateTimeField()
    entry = models.UUIDField(help_text="The log entry that holds all of the above.")
    uses = models.PositiveIntegerField(default=0)
    last_used_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    ended = models.CharField(max_length=200, blank=True, help_text="Why it ended.")

    objects = AllowanceQuerySet.as_manager()

    class Meta:
        ordering = ["-made_at"]
        indexes = [
            models.Index(name="allowance_open", fields=["session", "call"], condition=Q(ended_at=None)),
            models.Index(name="allowance_of_session", fields=["session", "made_at"]),
            models.Index(name="allowance_of_action", fields=["action_id"]),
        ]
        constraints = [
            models.CheckConstraint(name="allowance_ends", condition=Q(until__gt=F("starts_at"))),
            models.CheckConstraint(name="allowance_answers_rules", condition=~Q(rules=[])),
        ]

    def __str__(self) -> str:
        return f"{self.tool} for a while, by {self.user}"

    @property
    def minutes(self) -> int:
        return round((self.until - self.made_at).total_seconds() / 60)

    def told(self) -> dict[str, Any]:
        """All that is fixed, as the log's entry holds it. Only JSON values."""
        return {
            "allowance": str(self.pk), "session": str(self.session_id), "agent": self.agent_id,
            "tool": self.tool, "target": self.target, "same": self.same, "call": self.call,
            "labels": self.labels, "origins": self.origins, "findings": self.findings, "most": self.most,
            "rules": self.rules,
            "release": self.release, "release_id": self.release_id, "user": self.user_id,
            "group": self.group, "action": str(self.action_id), "vote": str(self.vote),
            "made_at": self.made_at.isoformat(), "starts_at": self.starts_at.isoformat(),
            "until": self.until.isoformat(),
        }  # fmt: skip
