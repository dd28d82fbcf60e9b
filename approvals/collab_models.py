"""What reviewers say to each other and to the agent about one action: questions and their answers."""

from __future__ import annotations

import json
import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone


class Question(models.Model):
    """A reviewer's question to the agent, and the answer in the agent's own words, once there is one.

    It changes nothing of what would be approved; the log holds both under `entry` and `answer_entry`.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    action = models.ForeignKey("approvals.Action", on_delete=models.CASCADE, related_name="questions")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    text = models.TextField()
    at = models.DateTimeField(default=timezone.now)
    entry = models.UUIDField()
    extended_by = models.PositiveIntegerField(default=0, help_text="Seconds that the deadline moved by it.")
    told_at = models.DateTimeField(null=True, blank=True, help_text="When the agent was first told of it.")
    answer = models.TextField(blank=True, help_text="As it passed the firewall.")
    findings_json = models.TextField(default="[]")
    verdict = models.CharField(max_length=7, blank=True, help_text="The firewall's, on the answer.")
    answered_at = models.DateTimeField(null=True, blank=True)
    answer_entry = models.UUIDField(null=True, blank=True)

    class Meta:
        ordering = ["at", "id"]
        constraints = [
            models.CheckConstraint(
                name="question_answered_in_the_log",
                condition=Q(answered_at=None, answer_entry=None)
                | Q(answered_at__isnull=False, answer_entry__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return self.text

    @property
    def findings(self) -> list[dict[str, Any]]:
        return list(json.loads(self.findings_json))
