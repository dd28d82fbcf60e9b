"""What a database said that it would do for a statement that waits for people."""

from __future__ import annotations

import json
import uuid
from typing import Any

from django.db import models
from django.utils import timezone


class StatementPlan(models.Model):
    """The plan of one revision of an action, as EXPLAIN told it; it helps reviewers and decides nothing.

    Made once, by whoever wrote the row first. `id` also names the grant under which it was made.
    """

    class State(models.TextChoices):
        MAKING = "making", "Being made"
        MADE = "made", "Made"
        NONE = "none", "No plan"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    action = models.ForeignKey("approvals.Action", on_delete=models.CASCADE, related_name="plans")
    digest = models.CharField(max_length=64)
    state = models.CharField(max_length=6, choices=State, default=State.MAKING)
    plan_json = models.TextField(blank=True)
    why = models.TextField(blank=True, help_text="Why there is none.")
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(name="plan_once", fields=["action", "digest"])]

    @property
    def plan(self) -> dict[str, Any]:
        return dict(json.loads(self.plan_json))
