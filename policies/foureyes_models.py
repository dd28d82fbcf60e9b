"""A change that waits for a second person."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone


class ProposedChange(models.Model):
    """What somebody wants to change, exactly; it is applied so, once somebody else has confirmed it."""

    class State(models.TextChoices):
        WAITING = "waiting"
        CONFIRMED = "confirmed"
        REFUSED = "refused"
        WITHDRAWN = "withdrawn"
        OUTDATED = "outdated"

    kind = models.CharField(max_length=20)
    target = models.CharField(max_length=160)
    title = models.CharField(max_length=500)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    sealed = models.BinaryField(default=b"", editable=False)
    by = models.CharField(max_length=150)
    at = models.DateTimeField(default=timezone.now)
    state = models.CharField(max_length=9, choices=State, default=State.WAITING)
    decided_by = models.CharField(max_length=150, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    why = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                name="change_decided_by_another",
                condition=~Q(state="confirmed") | ~Q(by=models.F("decided_by")),
            )
        ]

    def __str__(self) -> str:
        return self.title
