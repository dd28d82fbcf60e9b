"""Privileges that live for minutes."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.db import models
from django.db.models import Q
from django.utils import timezone


class GrantQuerySet(models.QuerySet["Grant"]):
    def alive(self) -> GrantQuerySet:
        return self.filter(state__in=[Grant.State.ACTIVE, Grant.State.REVOKING])

    def due(self, now: datetime) -> GrantQuerySet:
        over = self.alive().filter(Q(expires_at__lte=now) | Q(state=Grant.State.REVOKING))
        over = over.filter(Q(retry_at=None) | Q(retry_at__lte=now))
        # Those that could not be ended before come last, so that they hold up no other.
        return over.order_by("attempts", "expires_at")

    def stuck(self) -> GrantQuerySet:
        """Those that should be gone and that their issuer could not take back; the longest first."""
        return self.filter(state=Grant.State.REVOKING, attempts__gt=0).order_by("expires_at")


class Grant(models.Model):
    """A privilege for one action, bound to its digest; lives minutes and always ends."""

    class State(models.TextChoices):
        ACTIVE = "active"
        REVOKING = "revoking"  # the issuer could not take it back yet; retried until it can
        REVOKED = "revoked"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    action_id = models.UUIDField(db_index=True)
    agent = models.ForeignKey("policies.Agent", on_delete=models.PROTECT)
    session_id = models.UUIDField(null=True)
    tool = models.CharField(max_length=100)
    digest = models.CharField(max_length=64)
    issuer = models.CharField(max_length=20)
    scope = models.JSONField(default=dict)
    fence = models.BigIntegerField(default=0)
    state = models.CharField(max_length=10, choices=State, default=State.ACTIVE)
    minted_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    why = models.CharField(max_length=300, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    retry_at = models.DateTimeField(null=True, blank=True)
    problem = models.CharField(max_length=300, blank=True)

    objects = GrantQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="grant_one_alive_an_action",
                fields=["action_id"],
                condition=Q(state__in=["active", "revoking"]),
            ),
            models.CheckConstraint(name="grant_ends", condition=Q(expires_at__gt=models.F("minted_at"))),
        ]
