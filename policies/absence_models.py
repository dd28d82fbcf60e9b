"""Who is away, until when, and who stands in."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from traces import dbtime


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

    def covers(self, at: datetime) -> bool:
        """Whether the person was away at that moment."""
        return self.since <= at < min(self.until, self.ended_at or self.until)

    def __str__(self) -> str:
        return f"{self.user} away until {self.until:%Y-%m-%d %H:%M}"


def in_force(at: datetime) -> Q:
    """Of absences: those of people who are away at this moment, and still may decide."""
    lasts = Q(since__lte=at, until__gt=at) & (Q(ended_at=None) | Q(ended_at__gt=at))
    return lasts & Q(user__is_active=True, user__roles__contains=["approver"])


def covering(stand_ins: Iterable[int]) -> QuerySet[Absence]:
    """Absences whatever their time in which one of these people stands in; the absent with their groups."""
    rows = Absence.objects.filter(stand_in__in=list(stand_ins)).select_related("user")
    return rows.prefetch_related("user__groups").order_by("until", "id")


def covered_groups(absences: Iterable[Absence]) -> dict[str, list[Absence]]:
    """Each group that somebody answers for by standing in, with the absences by which they do."""
    found: dict[str, list[Absence]] = {}
    for absence in absences:
        for group in absence.user.groups.all():
            found.setdefault(group.name, []).append(absence)
    return found


class StandsIn:
    """What a person has by standing in for others."""

    _covers: dict[str, list[Absence]]

    @property
    def covers(self: Any) -> dict[str, list[Absence]]:
        """The groups for which this person stands in now, with the absences by which they do; read once."""
        if not hasattr(self, "_covers"):
            rows = covering([self.pk]).filter(in_force(dbtime.now())) if self.has_role("approver") else ()
            self._covers = covered_groups(rows)
        found: dict[str, list[Absence]] = self._covers
        return found

    @property
    def answers_for(self: Any) -> frozenset[str]:
        """The groups for which this person may answer now: their own, and those of whom they stand in for."""
        names: frozenset[str] = self.group_names
        return names.union(self.covers)
