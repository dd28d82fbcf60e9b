"""Keys that sign tokens, and the tokens that were handed out (what they are known by, never themselves)."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import F, Q
from django.utils import timezone


class SigningKeyQuerySet(models.QuerySet["SigningKey"]):
    def signing(self, now: datetime) -> SigningKeyQuerySet:
        """Keys that may sign at this moment, the one that took over last first."""
        until = Q(signs_until=None) | Q(signs_until__gt=now)
        return self.filter(until, signs_from__lte=now).order_by("-signs_from", "-pk")

    def announced(self, now: datetime) -> SigningKeyQuerySet:
        """Keys that are published and take over later."""
        return self.filter(signs_from__gt=now)


class SigningKey(models.Model):
    """One key pair, sealed under the key-encryption key. As long as its row stands, it is published."""

    kid = models.CharField(max_length=43, unique=True)
    alg = models.CharField(max_length=10)
    sealed = models.BinaryField(editable=False)
    created_at = models.DateTimeField(default=timezone.now)
    signs_from = models.DateTimeField()
    signs_until = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)
    uses = models.PositiveBigIntegerField(default=0)

    objects = SigningKeyQuerySet.as_manager()

    class Meta:
        ordering = ["-signs_from", "-pk"]
        constraints = [
            models.CheckConstraint(name="signing_key_alg_known", condition=Q(alg__in=["EdDSA", "ES256"])),
            models.CheckConstraint(
                name="signing_key_span",
                condition=Q(signs_until=None) | Q(signs_until__gte=F("signs_from")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kid} ({self.alg})"


class IssuedToken(models.Model):
    """One token: at most one a grant, ever. Its id is its place in the status lists."""

    grant = models.OneToOneField("policies.Grant", on_delete=models.PROTECT, related_name="token")
    kid = models.CharField(max_length=43)
    sha256 = models.CharField(max_length=64, blank=True)
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"the token of grant {self.grant_id}"
