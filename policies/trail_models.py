"""What happened in a session before, as rules ask for it: one row a session, found by its key."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models


class Trail(models.Model):
    """`calls`: actions that were proposed in the session; `read`: tools whose output it has met; `did`: those
    with side effects that were started in it; `last`: the one that was started last.

    Names only, each once, so that a long session costs no more.
    """

    session = models.OneToOneField(
        "traces.Session", primary_key=True, on_delete=models.CASCADE, related_name="trail"
    )
    calls = models.PositiveIntegerField(default=0)
    read = ArrayField(models.CharField(max_length=100), default=list)
    did = ArrayField(models.CharField(max_length=100), default=list)
    last = models.CharField(max_length=100, blank=True)


class Recall(models.Model):
    """When an agent last met a tool's output, in whichever session: no new session makes it forget."""

    agent = models.ForeignKey("policies.Agent", on_delete=models.CASCADE, related_name="recalls")
    tool = models.CharField(max_length=100)
    at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(name="recall_tool_once", fields=["agent", "tool"])]
