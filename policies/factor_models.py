"""By what people prove who they are, beside a password: passkeys, an authenticator app, recovery codes."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone


class Passkey(models.Model):
    """A registered public key. The log holds it too (`entry`), which is what votes are held against."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="passkeys")
    name = models.CharField(max_length=100)
    # Base64url of up to 1023 bytes.
    credential = models.CharField(max_length=1364, unique=True)
    key = models.JSONField(help_text="The public key as JSON Web Key.")
    rp_id = models.CharField(max_length=253, help_text="The site that it is for.")
    handle = models.CharField(max_length=86, help_text="Whose it is, as the authenticator keeps it.")
    transports = models.JSONField(default=list)
    synced = models.BooleanField(default=False)
    count = models.PositiveBigIntegerField(default=0)
    entry = models.UUIDField(unique=True)
    created_at = models.DateTimeField(default=timezone.now)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["created_at"]

    def __str__(self) -> str:
        return f"{self.name} of {self.user}"


class AuthenticatorApp(models.Model):
    """An app that shows a code of six digits. `last_step` is the time step whose code was used last."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="app")
    sealed = models.BinaryField()
    last_step = models.PositiveBigIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    last_used_at = models.DateTimeField(null=True, blank=True)


class RecoveryCode(models.Model):
    """A code for the day on which everything else is lost; works once, only its hash is kept."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="recovery_codes"
    )
    sha256 = models.CharField(max_length=64)
    used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(name="recovery_code_once", fields=["user", "sha256"])]


class CodeTries(models.Model):
    """Wrong codes of a person since `since`: codes are short, so only so many may be tried."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True)
    wrong = models.PositiveSmallIntegerField(default=0)
    since = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.CheckConstraint(name="code_tries_few", condition=Q(wrong__lte=100))]
