"""What a job opened, executed and connected to, beside its output."""

from __future__ import annotations

from typing import Any

from django import template

from approvals import watched
from approvals.models import Execution
from approvals.watch_models import JobWatch

register = template.Library()


@register.inclusion_tag("watching/_watched.html")
def what_it_did(execution: Execution) -> dict[str, Any]:
    """The lists of one execution, live while it runs; nothing where it ran in no sandbox."""
    found = JobWatch.objects.filter(execution=execution).values_list("found", flat=True).first()
    if found is None:
        return {}
    titles = {"executed": "Commands", "connected": "Connections tried", "opened": "Files opened"}
    lists = [{"title": title, "items": found[kind]} for kind, title in titles.items() if found[kind]]
    left = {name: found[name] for name in ("library_reads", "unlisted", "unread", "gap")}
    return {"summary": watched.summary(found), "lists": lists, **left}
