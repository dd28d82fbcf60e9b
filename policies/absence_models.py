"""Who is away, until when, and who stands in."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone


class Absence(models.Model):
    """One person's time away. Written by `absences` only; a stand-in answers by it only as far as its sealed
    entry says so.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="absences")
    stand_in = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="stands_in"
    )
    since = models.DateTimeField()
    until = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True, help_text="Where the person came back early.")
    entry = models.UUIDField(help_text="The log entry that holds this.")
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-since", "-id"]
        indexes = [models.Index(name="absence_of_stand_in", fields=["stand_in", "until"])]
        constraints = [
            models.CheckConstraint(name="absence_lasts", condition=Q(until__gt=F("since"))),
            models.CheckConstraint(
                name="absence_stand_in_is_another", condition=Q(stand_in=None) | ~Q(stand_in=F("user"))
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} away until {self.until:%Y-%m-%d %H:%M}"
