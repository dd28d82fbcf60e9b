"""Who else may answer for a group that is asked: escalated by time, or delegated by a person."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.utils import timezone


class Widening(models.Model):
    """For this action, approvals by members of `by_group` count for `group` too. Written by
    `widening.widen` only, and worth nothing without its sealed entry.
    """

    class Why(models.TextChoices):
        ESCALATED = "escalated"
        DELEGATED = "delegated"

    action = models.ForeignKey("approvals.Action", on_delete=models.CASCADE, related_name="widenings")
    group = models.CharField(max_length=150, help_text="The group that a rule asks.")
    by_group = models.CharField(max_length=150, help_text="The group whose members may answer for it too.")
    why = models.CharField(max_length=9, choices=Why)
    entry = models.UUIDField(help_text="The log entry that holds this.")
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["at", "id"]
        constraints = [
            models.UniqueConstraint(name="widening_once", fields=["action", "group", "by_group"]),
            models.CheckConstraint(name="widening_widens", condition=~Q(group=F("by_group"))),
            models.CheckConstraint(
                name="widening_why_known", condition=Q(why__in=["escalated", "delegated"])
            ),
        ]

    def __str__(self) -> str:
        return f"{self.by_group} for {self.group} ({self.why})"
