"""A whole release in shadow: what was frozen, where its counting stands, and each call it would change."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone


class ShadowRelease(models.Model):
    """A frozen draft that is asked about every call and obeyed by none. At most one runs."""

    class State(models.TextChoices):
        RUNNING = "running"
        STOPPED = "stopped"
        PROMOTED = "promoted"
        DROPPED = "dropped"

    digest = models.CharField(max_length=64)
    content = models.TextField(help_text="Canonical JSON (RFC 8785); the digest is over exactly this.")
    note = models.CharField(max_length=500, blank=True)
    by = models.CharField(max_length=150)
    state = models.CharField(max_length=8, choices=State, default=State.RUNNING)
    started_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)
    last_at = models.DateTimeField(help_text="Where it stands: calls up to this one are counted.")
    last_id = models.UUIDField(default=uuid.UUID(int=0))
    judged = models.PositiveBigIntegerField(default=0)
    same = models.PositiveBigIntegerField(default=0)
    failed = models.PositiveBigIntegerField(default=0, help_text="Calls that it could not judge.")
    failure = models.CharField(max_length=500, blank=True, help_text="Why, of the last one.")

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(name="shadow_one_runs", fields=["state"], condition=Q(state="running"))
        ]

    def __str__(self) -> str:
        return f"shadow {self.pk} ({self.digest[:12]})"

    @property
    def running(self) -> bool:
        return self.state == self.State.RUNNING

    @property
    def open(self) -> bool:
        """Whether it can still be promoted or dropped."""
        return self.state in (self.State.RUNNING, self.State.STOPPED)


class ShadowVerdict(models.Model):
    """One call that would have come out otherwise: from what to what, by which rules."""

    shadow = models.ForeignKey(ShadowRelease, on_delete=models.CASCADE, related_name="verdicts")
    action = models.ForeignKey("approvals.Action", on_delete=models.CASCADE)
    before = models.CharField(max_length=12)
    after = models.CharField(max_length=12)
    then = models.JSONField(default=list)
    now = models.JSONField(default=list)

    class Meta:
        constraints = [models.UniqueConstraint(name="shadow_verdict_once", fields=["shadow", "action"])]
