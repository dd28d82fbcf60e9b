"""Allowances for a while in the admin: who allowed what until when, and an end to it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from policies import allowances
from policies.admin_base import ReadOnlyAdmin, actor, person
from policies.models import Allowance
from traces.problems import Refused

SHOWN = 60  # characters of a target in the list; its own page has all


@admin.register(Allowance)
class AllowanceAdmin(ReadOnlyAdmin):
    """Rules of one reviewer that end by themselves; the inbox makes them."""

    list_display = ["tool", "on", "agent", "user", "until", "uses", "ended"]
    list_filter = [("ended_at", admin.EmptyFieldListFilter), "tool", "agent"]
    list_select_related = ["agent", "user"]
    search_fields = ["tool", "target"]
    date_hierarchy = "made_at"
    actions = ["revoke"]

    @admin.display(description="target")
    def on(self, row: Allowance) -> str:
        return row.target if len(row.target) <= SHOWN else f"{row.target[:SHOWN]}…"

    @admin.action(description="Revoke at once", permissions=["act"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Allowance]) -> None:
        def end(row: Any) -> None:
            why = f"revoked by {person(request).username}"
            if not allowances.end(allowance_id=row.pk, why=why, by=actor(request)):
                raise Refused("conflict", f"it had ended: {row.ended}")

        self.do(request, queryset, end, "revoked")
