"""Words of agents, made fit to leave the house: on one line, nothing hidden, nothing to click. Pure.

What a tool's sentence says of a call holds what the agent put in, so each message treats it as hostile.
"""

from __future__ import annotations

import re
from datetime import datetime

from traces import presenters

_BLANKS = re.compile(r"[\s\u0085\u2028\u2029]+")
_SCHEME = re.compile(r"://|(?<![\w.])(mailto|tel|sms|xmpp|slack|skype|msteams|vscode|javascript|data):", re.I)
# Between a letter or digit and what could be a top-level domain; also the dots that browsers take for one.
_DOT = re.compile(r"(?<=[\w\-])[.\u3002\uff0e\uff61](?=[^\W\d_])")


def line(text: str, *, most: int) -> str:
    """Any text → one line of at most `most` characters, the invisible spelled out, cuts showing as …"""
    cut = text[: most + 1]
    shown = presenters.visible(_BLANKS.sub(" ", cut).strip())
    return shown if len(shown) <= most and len(text) <= most else shown[: most - 1] + "…"


def defang(text: str) -> str:
    """Text in which no mail program or chat finds an address to link: `evil[.]example`, `https[:]//`."""
    safe = _SCHEME.sub(lambda found: "[:]//" if found[0] == "://" else f"{found[1]}[:]", text)
    return _DOT.sub("[.]", safe)


def left(now: datetime, until: datetime) -> str:
    """How long from now: "40 s", "12 min", "3 h 5 min", "2 days"."""
    seconds = max(0, int((until - now).total_seconds()))
    if seconds < 90:
        return f"{seconds} s"
    minutes = seconds // 60
    if minutes < 90:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{hours // 24} days"


def count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
