"""Lengths of time as people say them."""

from __future__ import annotations

from django import template

register = template.Library()
STEPS = ((100, 1, "s"), (6000, 60, "min"), (360_000, 3600, "h"))


@register.filter
def lasting(seconds: float | None) -> str:
    """Seconds → "0.8 s", "9 s", "12 min", "3 h", "5 days"; "–" for None."""
    if seconds is None:
        return "–"
    if seconds < 9.95:
        return f"{seconds:.1f}".rstrip("0").rstrip(".") + " s"
    for below, unit, word in STEPS:
        if seconds < below:
            return f"{seconds / unit:.0f} {word}"
    return f"{seconds / 86_400:.0f} days"
