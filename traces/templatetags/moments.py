"""Moments on a page: `{% moment at "minute" %}` writes UTC, which a script turns to the reader's zone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django import template
from django.template.defaultfilters import date as dated
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()

# How exactly a moment is told, and how Django writes it; times.js knows the same names.
STYLES = {
    "second": "j M Y H:i:s",
    "minute": "j M Y H:i",
    "day": "j M Y",
    "short": "j M H:i",
    "date": "j M",
    "clock": "H:i:s",
    "hour": "H:i",
    "iso": "Y-m-d H:i:s",
    "log": "m-d H:i:s",
    "fine": "Y-m-d H:i:s.u",
}
_WITHOUT_ZONE = frozenset(("day", "date"))
_BY_CLOCK = {"ago": "minute", "left": "hour"}


@register.simple_tag
def moment(at: Any, style: str = "minute", look: str = "") -> SafeString | str:
    """A `<time>` with the exact moment as its title. Styles: those of STYLES, "ago" and "left", which count.

    Nothing for None; what is no moment stays as it is. `look` is more classes. Without a script it reads in UTC and says so.
    """
    if not isinstance(at, datetime):
        return "" if at is None else str(at)
    utc = at.astimezone(UTC)
    written = _BY_CLOCK.get(style, style)
    text = dated(utc, STYLES[written]) + ("" if written in _WITHOUT_ZONE else " UTC")
    counting = {"ago": " data-ago", "left": " data-countdown"}.get(style, "")
    return format_html(
        '<time class="num{}"{} datetime="{}" data-time="{}" title="{}">{}</time>',
        f" {look}" if look else "", counting, utc.isoformat(), "" if counting else style,
        ("until " if style == "left" else "") + dated(utc, STYLES["second"]) + " UTC",
        ("until " if style == "left" else "") + text,
    )  # fmt: skip
