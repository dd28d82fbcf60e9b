"""What was said of keys, secrets and grants that need attention, and to whom."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone


class Warned(models.Model):
    """One thing said of one credential: once, however often it is looked at. `about` is "kind:key", `stage`
    what is said of it, `until` the end that it speaks of, which a replacement moves.
    """

    about = models.CharField(max_length=220)
    stage = models.CharField(max_length=20)
    until = models.CharField(max_length=40, blank=True)
    said = models.CharField(max_length=300)
    at = models.DateTimeField(default=timezone.now)
    over_at = models.DateTimeField(null=True, blank=True)
    entry = models.UUIDField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="warned_once", fields=["about", "stage", "until"], condition=Q(over_at=None)
            )
        ]


class WarningNotice(models.Model):
    """A warning owed to one outlet."""

    class State(models.TextChoices):
        WAITING = "waiting"
        SENT = "sent"
        GIVEN_UP = "given_up"

    warned = models.ForeignKey(Warned, on_delete=models.CASCADE, related_name="notices")
    outlet = models.ForeignKey("approvals.Outlet", on_delete=models.CASCADE, related_name="+")
    message = models.UUIDField(null=True)
    state = models.CharField(max_length=8, choices=State, default=State.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_at = models.DateTimeField(default=timezone.now)
    why = models.CharField(max_length=300, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(name="warning_told_once", fields=["warned", "outlet"])]
        indexes = [models.Index(name="warning_due", fields=["next_at"], condition=Q(state="waiting"))]
