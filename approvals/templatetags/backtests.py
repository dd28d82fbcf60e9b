"""The backtest of a draft beside its differences, for the admin's page that publishes."""

from __future__ import annotations

from typing import Any

from django import template

from approvals import backtest

register = template.Library()


@register.inclusion_tag("policies/_backtested.html")
def backtested(digest: str) -> dict[str, Any]:
    """What the newest backtest of exactly this draft found; that there is none, where there is none."""
    return {"test": backtest.of_release(digest)}
