"""What grows out of decisions: suggested rules, proposed modes of agents, last use, access reviews."""

from __future__ import annotations

import json
from typing import Any

from django.db import models
from django.db.models import Q
from django.utils import timezone


class Suggestion(models.Model):
    """A narrow rule that decisions made alike speak for. Offered, never applied by itself."""

    class State(models.TextChoices):
        OFFERED = "offered"
        DRAFTED = "drafted"
        DISMISSED = "dismissed"

    agent = models.ForeignKey("policies.Agent", on_delete=models.CASCADE, related_name="suggestions")
    tool = models.CharField(max_length=100)
    rules = models.JSONField(help_text="Names of the rules that ask, sorted.")
    condition = models.TextField(help_text="CEL: what it would let pass, without its end.")
    digest = models.CharField(
        max_length=64, help_text="Over what it would do; a page decides what it showed."
    )
    evidence_json = models.TextField()
    state = models.CharField(max_length=9, choices=State, default=State.OFFERED)
    found_at = models.DateTimeField(default=timezone.now)
    decided_by = models.CharField(max_length=150, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=500, blank=True)
    rule = models.CharField(max_length=100, blank=True, help_text="The draft rule that it became.")
    ends_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-found_at", "-id"]
        constraints = [
            models.UniqueConstraint(name="suggestion_once", fields=["agent", "tool", "rules"]),
            models.CheckConstraint(
                name="suggestion_decided_by_somebody", condition=Q(state="offered") | ~Q(decided_by="")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.agent} may call {self.tool}"

    @property
    def evidence(self) -> dict[str, Any]:
        return dict(json.loads(self.evidence_json))


class Promotion(models.Model):
    """A proposed mode of an agent with its evidence; a person decides it, once."""

    class State(models.TextChoices):
        OPEN = "open"
        ACCEPTED = "accepted"
        DECLINED = "declined"
        WITHDRAWN = "withdrawn"

    agent = models.ForeignKey("policies.Agent", on_delete=models.CASCADE, related_name="promotions")
    before = models.CharField(max_length=10)
    after = models.CharField(max_length=10)
    evidence_json = models.TextField()
    why = models.CharField(max_length=500)
    state = models.CharField(max_length=9, choices=State, default=State.OPEN)
    proposed_at = models.DateTimeField(default=timezone.now)
    decided_by = models.CharField(max_length=150, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["-proposed_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                name="promotion_one_open_an_agent", fields=["agent"], condition=Q(state="open")
            ),
            models.CheckConstraint(name="promotion_changes", condition=~Q(before=models.F("after"))),
        ]

    def __str__(self) -> str:
        return f"{self.agent}: {self.before} → {self.after}"

    @property
    def evidence(self) -> dict[str, Any]:
        return dict(json.loads(self.evidence_json))

    @property
    def up(self) -> bool:
        """Whether it gives the agent more room."""
        return self.after == "standard"


class LastUse(models.Model):
    """When a rule last spoke or a tool was last called; a projection of the actions, behind by a minute.

    `since` is when this was first watched: what was never used counts as unused from then on.
    """

    kind = models.CharField(max_length=4, choices=[("rule", "rule"), ("tool", "tool")])
    name = models.CharField(max_length=100)
    at = models.DateTimeField(null=True, blank=True)
    since = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(name="last_use_once", fields=["kind", "name"])]


class Chore(models.Model):
    """Work that time brings: when it was last done, and how far it has come."""

    name = models.CharField(max_length=30, primary_key=True)
    done_at = models.DateTimeField(null=True)
    place = models.JSONField(default=dict)


class AccessReview(models.Model):
    """A signed review; the whole list with every decision stands in its log entry."""

    signed_at = models.DateTimeField(default=timezone.now)
    signed_by = models.CharField(max_length=150)
    entry = models.UUIDField(unique=True)
    kept = models.PositiveIntegerField()
    removed = models.PositiveIntegerField()
    note = models.CharField(max_length=500, blank=True)
    next_due = models.DateTimeField()

    class Meta:
        ordering = ["-signed_at", "-id"]

    def __str__(self) -> str:
        return f"access review of {self.signed_at:%Y-%m-%d}"
