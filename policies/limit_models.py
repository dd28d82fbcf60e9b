"""Limits that several share: over a tool, a group's agents, one agent, or a meeting of these.

Scopes are names and patterns, not keys, since what they name may come and go while the limit stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from django.db import models
from django.db.models import Q
from django.utils import timezone

DIGITS, PLACES = 40, 6
CEILINGS = ("per_minute", "per_day", "pending", "sum_per_day")


class Limit(models.Model):
    """At most so much of what it names: calls a minute, calls a day, calls waiting, and the sum of an
    argument a day.

    What it does not name it does not ask for; an empty ceiling is none.
    """

    name = models.CharField(max_length=100, unique=True)
    tool = models.CharField(max_length=100, blank=True, help_text="A tool, or a pattern with * and ?.")
    group = models.CharField(max_length=150, blank=True, help_text="The agents of this team, together.")
    agent = models.CharField(max_length=100, blank=True, help_text="One agent.")
    per_minute = models.PositiveIntegerField(null=True, blank=True, help_text="Calls a minute (UTC).")
    per_day = models.PositiveIntegerField(null=True, blank=True, help_text="Calls a day (UTC).")
    pending = models.PositiveIntegerField(null=True, blank=True, help_text="Calls that wait for people.")
    sum_of = models.CharField(
        max_length=100, blank=True, help_text="The argument that is added up, or a path such as lines.amount."
    )
    sum_per_day = models.DecimalField(
        max_digits=DIGITS, decimal_places=PLACES, null=True, blank=True, help_text="Its sum a day (UTC)."
    )

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                name="limit_names_something", condition=~Q(tool="", group="", agent=""),
            ),
            models.CheckConstraint(
                name="limit_sum_names_its_argument",
                condition=Q(sum_of="", sum_per_day=None) | (~Q(sum_of="") & Q(sum_per_day__gte=0)),
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        return self.name

    def covers(self, *, agent: str, group: str, tool: str) -> str:
        """How the call comes under this limit, in words; empty where it does not."""
        named = [(self.agent, agent == self.agent), (self.group, group == self.group)]
        named.append((self.tool, fnmatchcase(tool, self.tool)))
        asked = [name for name, _ in named if name]
        return " and ".join(asked) if all(met for name, met in named if name) else ""


class Tally(models.Model):
    """What was counted under a limit in one minute or day; changed only with the limit's row locked."""

    limit = models.ForeignKey(Limit, on_delete=models.CASCADE, related_name="tallies")
    window = models.CharField(max_length=6, choices=[("minute", "minute"), ("day", "day")])
    starts_at = models.DateTimeField()
    count = models.PositiveIntegerField(default=0)
    total = models.DecimalField(max_digits=DIGITS, decimal_places=PLACES, default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="tally_window_once", fields=["limit", "window", "starts_at"]),
        ]


class Charge(models.Model):
    """What one action takes of a sum; given back when it can never happen."""

    tally = models.ForeignKey(Tally, on_delete=models.CASCADE, related_name="charges")
    action_id = models.UUIDField(db_index=True)
    amount = models.DecimalField(max_digits=DIGITS, decimal_places=PLACES)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(name="charge_once", fields=["tally", "action_id"])]


class Hit(models.Model):
    """When an agent last ran into a limit, and how often; without `limit` it is one of the agent's own."""

    agent = models.ForeignKey("policies.Agent", on_delete=models.CASCADE, related_name="hits")
    limit = models.ForeignKey(Limit, on_delete=models.CASCADE, null=True, related_name="hits")
    ceiling = models.CharField(max_length=12)
    tool = models.CharField(max_length=100, blank=True)
    at = models.DateTimeField(default=timezone.now)
    times = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="hit_once", fields=["agent", "limit", "ceiling"], nulls_distinct=False
            ),
        ]


def faults(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with the fields of a limit, as (field, why)."""
    found = []
    if not any(values.get(name) for name in ("tool", "group", "agent")):
        found.append(("", "names neither a tool nor a group nor an agent"))
    if all(values.get(name) is None for name in CEILINGS):
        found.append(("", f"limits nothing: it has none of {', '.join(CEILINGS)}"))
    if bool(values.get("sum_of")) != (values.get("sum_per_day") is not None):
        found.append(("sum_of", "and sum_per_day belong together"))
    if values.get("sum_of") and not values.get("tool"):
        found.append(("tool", "is missing: an argument is added up over the calls of a tool"))
    return found
