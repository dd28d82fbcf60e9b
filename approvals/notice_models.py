"""What people are told outside of the pages: where they are reached, and what is owed to them there."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone


class NoticeKind(models.TextChoices):
    ASKED = "asked", "Your group is asked"
    ESCALATED = "escalated", "Escalated to your group"
    DELEGATED = "delegated", "Delegated to your group"
    EXPIRING = "expiring", "Expires soon"
    ANSWERED = "question_answered", "The agent answered your question"
    USER_WORD = "user_word", "Your own word is asked for"
    DECIDED = "decided", "Decided after you were told"
    CREDENTIAL = "credential", "A key, secret or grant of yours needs attention"


USUAL_KINDS = ("asked", "escalated", "delegated", "question_answered", "user_word", "credential")


def usual_kinds() -> list[str]:
    """What somebody is told who chose nothing."""
    return list(USUAL_KINDS)


_ONE_OWNER = Q(user=None, group__isnull=False) | Q(user__isnull=False, group=None)
_WHOLE = Q(quiet_from=None, quiet_to=None) | Q(quiet_from__isnull=False, quiet_to__isnull=False)
_ENDED = Q(state="waiting", ended_at=None) | ~Q(state="waiting") & ~Q(ended_at=None)


class Outlet(models.Model):
    """Where one person or one group is told: a channel, its address, and when it may speak.

    The lower half is the sender's: the message under way, how often it was tried, and who has claimed it.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    channel = models.CharField(max_length=10)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, related_name="outlets"
    )
    group = models.ForeignKey("auth.Group", on_delete=models.CASCADE, null=True, related_name="outlets")
    host = models.CharField(max_length=253, blank=True, help_text="Where its address leads, to show.")
    sealed = models.BinaryField(default=bytes, help_text="Address and secret, which nobody reads back.")
    kinds = models.JSONField(default=usual_kinds)
    bare = models.BooleanField(default=False, help_text="Say how many wait, and nothing of what.")
    zone = models.CharField(max_length=64, default="UTC")
    quiet_from = models.TimeField(null=True)
    quiet_to = models.TimeField(null=True)
    urgent = models.BooleanField(
        default=False, help_text="In quiet hours still tell what expires before they end."
    )
    enabled = models.BooleanField(default=True)
    why_off = models.CharField(max_length=200, blank=True)
    unconfirmed = models.CharField(
        max_length=150, blank=True, help_text="Who set its address, while a second person has to confirm it."
    )
    addressed_at = models.DateTimeField(default=timezone.now)
    made_by = models.CharField(max_length=150, blank=True)
    made_at = models.DateTimeField(default=timezone.now)

    message = models.UUIDField(null=True, help_text="The message under way; the same at each attempt.")
    attempts = models.PositiveSmallIntegerField(default=0)
    next_at = models.DateTimeField(default=timezone.now, help_text="Not before: a pause, or a new attempt.")
    claim = models.UUIDField(null=True, help_text="Of whoever is sending now.")
    claimed_until = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)
    tested_at = models.DateTimeField(null=True)
    failed_at = models.DateTimeField(null=True, help_text="When a message was last given up.")
    last_error = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["channel", "made_at"]
        constraints = [
            models.CheckConstraint(name="outlet_of_one", condition=_ONE_OWNER),
            models.CheckConstraint(
                name="outlet_off_until_confirmed", condition=Q(unconfirmed="") | Q(enabled=False)
            ),
            models.UniqueConstraint(name="outlet_one_mailbox", fields=["user"], condition=Q(channel="email")),
            models.CheckConstraint(
                name="outlet_quiet_whole",
                condition=_WHOLE,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.channel} of {self.owner}"

    @property
    def owner(self) -> str:
        """Whose it is, as the log names them."""
        return f"user:{self.user_id}" if self.user_id else f"group:{self.group_id}"


class Occasion(models.Model):
    """Something to tell once its time has come: written with what it tells of, gone once it is routed."""

    action = models.ForeignKey("approvals.Action", on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=20, choices=NoticeKind)
    groups = models.JSONField(default=list)
    users = models.JSONField(default=list)
    due_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(name="occasion_due", fields=["due_at"])]


class Notice(models.Model):
    """One thing owed to one outlet: the outbox. What became of it stays for a month."""

    class State(models.TextChoices):
        WAITING = "waiting"
        SENT = "sent"
        DROPPED = "dropped"
        GIVEN_UP = "given_up"

    outlet = models.ForeignKey(Outlet, on_delete=models.CASCADE, related_name="notices")
    action = models.ForeignKey("approvals.Action", on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=20, choices=NoticeKind)
    due_at = models.DateTimeField()
    state = models.CharField(max_length=8, choices=State, default=State.WAITING)
    why = models.CharField(max_length=200, blank=True)
    message = models.UUIDField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(name="notice_due", fields=["due_at"], condition=Q(state="waiting")),
            models.Index(name="notice_of_outlet", fields=["outlet", "ended_at"]),
        ]
        constraints = [
            models.UniqueConstraint(
                name="notice_waits_once", fields=["outlet", "action", "kind"], condition=Q(state="waiting")
            ),
            models.CheckConstraint(name="notice_ends", condition=_ENDED),
        ]
