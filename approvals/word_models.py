"""The word of the person whom a session serves, and the link by which that person comes to give it."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

# What a rule names as its approvers when it asks the person whom the session serves.
USER = "@user"


class ConfirmationLinkQuerySet(models.QuerySet["ConfirmationLink"]):
    def living(self, now: datetime) -> ConfirmationLinkQuerySet:
        """Neither over nor ended, made by a key that nobody revoked."""
        return self.filter(revoked_at=None, expires_at__gt=now, key__revoked_at=None)


class ConfirmationLink(models.Model):
    """Lets the person whom one session serves see what it asks of them. Opened once; then a cookie holds it.

    Whom it is for stands in the session alone, so that an erasure there leaves no name here.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    session = models.ForeignKey("traces.Session", on_delete=models.PROTECT, related_name="+")
    key = models.ForeignKey("policies.AgentKey", on_delete=models.CASCADE, related_name="+")
    sha256 = models.CharField(max_length=64, unique=True, help_text="Of the token in the address.")
    cookie_sha256 = models.CharField(max_length=64, blank=True, help_text="Of what the browser then holds.")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    opened_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = ConfirmationLinkQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(name="link_of_session", fields=["session", "created_at"])]
        constraints = [
            models.UniqueConstraint(
                name="link_cookie_once", fields=["cookie_sha256"], condition=~Q(cookie_sha256="")
            ),
            models.CheckConstraint(
                name="link_opened_has_cookie",
                condition=Q(opened_at=None, cookie_sha256="") | Q(opened_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"link {str(self.id)[:8]}"


class Word(models.Model):
    """What the person whom the session serves said to one revision. It came in exactly one way: through the
    host application's key, a link of theirs, or their own account. Void as a vote is.
    """

    class Verdict(models.TextChoices):
        APPROVE = "approve"
        REJECT = "reject"

    action = models.ForeignKey("approvals.Action", on_delete=models.CASCADE, related_name="words")
    revision = models.PositiveIntegerField()
    digest = models.CharField(max_length=64)
    verdict = models.CharField(max_length=7, choices=Verdict)
    comment = models.TextField(blank=True)
    key = models.ForeignKey(
        "policies.AgentKey", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    link = models.ForeignKey(
        ConfirmationLink, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    at = models.DateTimeField(default=timezone.now)
    void = models.BooleanField(default=False)
    entry = models.UUIDField(help_text="The log entry that holds it.")

    class Meta:
        ordering = ["at"]
        constraints = [
            models.UniqueConstraint(name="word_one_an_action", fields=["action"], condition=Q(void=False)),
            models.CheckConstraint(
                name="word_came_one_way",
                condition=Q(key__isnull=False, link=None, account=None)
                | Q(key=None, link__isnull=False, account=None)
                | Q(key=None, link=None, account__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.verdict} of {self.action_id}"

    @property
    def group(self) -> str:
        return USER

    @property
    def name(self) -> str:
        """Whose word it is, as their host calls them."""
        return str(self.action.session.user)

    @property
    def channel(self) -> str:
        """By which way it came: host, link or account."""
        if self.key_id is not None:
            return "host"
        return "link" if self.link_id is not None else "account"

    @property
    def undoable(self) -> bool:
        """Whether it came on a page that offers to take it back; nothing starts for those seconds."""
        return self.key_id is None

    @property
    def actor(self) -> str:
        """How the log names who spoke."""
        if self.key_id is not None:
            return f"host:{self.key_id}"
        return f"link:{self.link_id}" if self.link_id is not None else f"user:{self.account_id}"
