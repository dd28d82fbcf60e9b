"""Values that tools name and nobody reads back, and those that they replaced."""

from __future__ import annotations

import secrets

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone

NAME = RegexValidator(r"^[a-zA-Z0-9][a-zA-Z0-9._@-]{0,99}\Z", "At most 100 letters, digits and . _ @ -")


def new_version() -> int:
    """A number that no other value has: the sum over all rows says whether anything changed."""
    return secrets.randbits(62)


class Secret(models.Model):
    """A value that tools name and nobody reads back: sealed under a key outside the database."""

    name = models.CharField(max_length=100, unique=True, validators=[NAME])
    sealed = models.BinaryField(editable=False)
    version = models.BigIntegerField(default=new_version, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, editable=False
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    rotated_at = models.DateTimeField(null=True, blank=True, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    uses = models.PositiveBigIntegerField(default=0, editable=False)

    def __str__(self) -> str:
        return self.name


class PastValue(models.Model):
    """A value that was replaced or removed: usable for the overlap that was given, masked for longer."""

    name = models.CharField(max_length=100, db_index=True)
    sealed = models.BinaryField()
    version = models.BigIntegerField(default=new_version)
    replaced_at = models.DateTimeField(default=timezone.now)
    usable_until = models.DateTimeField(null=True, blank=True)
    known_until = models.DateTimeField()

    class Meta:
        ordering = ["-replaced_at", "-id"]
