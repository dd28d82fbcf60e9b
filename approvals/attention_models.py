"""How long somebody looked before a vote: a projection of what the vote's entry says, for the insights."""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class Look(models.Model):
    """One vote that a page measured, or that was one of many. Nothing that starts an action rests on it."""

    vote = models.OneToOneField(
        "approvals.Vote", on_delete=models.CASCADE, primary_key=True, related_name="look"
    )
    seen_ms = models.PositiveIntegerField(
        null=True, help_text="Milliseconds for which it was in view; of many at once, an equal share."
    )
    risky = models.BooleanField(default=False, help_text="High risk, or by a value that no user gave.")
    bulk = models.UUIDField(null=True, help_text="What the votes that were given together share.")

    class Meta:
        indexes = [models.Index(name="look_of_bulk", fields=["bulk"], condition=Q(bulk__isnull=False))]
