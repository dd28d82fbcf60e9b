"""The page of how people decide."""

from __future__ import annotations

from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from agentsec_site.pages import guard
from approvals import insights
from approvals.insights import BREAKDOWNS, PERIODS, Wish
from policies.access import Verb

COLUMNS = (
    ("asked", "Asked"), ("approved", "Approved"), ("rejected", "Rejected"), ("expired", "Expired"),
    ("edited", "Edited"), ("median", "Median"), ("p90", "9 of 10 within"), ("looked", "Looked"),
)  # fmt: skip


@require_safe
@guard.page(Verb.INSIGHTS_SEE)
def page(request: HttpRequest) -> HttpResponse:
    """What was asked of late and what came of it; for an approver of their own groups, else of all."""
    wish = Wish.read(request.GET)
    found = insights.insights(guard.person(request), wish)
    links = {
        "periods": [(f"{days} days", _link(wish, days=days), days == wish.days) for days in PERIODS],
        "breakdowns": [(f"By {by}", _link(wish, by=by), by == wish.by) for by in BREAKDOWNS],
        "columns": [(label, _link(wish, sort=name), name == wish.sort) for name, label in COLUMNS],
        "by_name": (_link(wish, sort="name"), wish.sort == "name"),
        "previous": _link(wish, page=found.page - 1) if found.page > 1 else "",
        "next": _link(wish, page=found.page + 1) if found.last < found.names else "",
    }
    return render(request, "approvals/insights.html", {"found": found, "wish": wish, **links})


def _link(wish: Wish, **changes: int | str) -> str:
    """The address of another such page; what is ordered or counted anew begins with its first rows."""
    said = {name: value for name, value in vars(wish).items() if name != "page"}
    return "?" + urlencode({**said, **changes})
