"""Filters for foreign text in templates: escaped always, the invisible made visible, findings marked."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from html import escape
from typing import Any

from django import template
from django.utils.safestring import SafeString, mark_safe

from traces import presenters

register = template.Library()


@register.filter
def visible(text: Any) -> SafeString:
    """Any value → escaped markup; an invisible character is a `<span class="ctl">‹U+202E›</span>`."""
    # Escaping first moves no character that is looked at: none of them is part of an escape.
    whole = escape(str("" if text is None else text))
    return mark_safe(presenters.replaced(whole, lambda character: _spelled(presenters.spell(character))))


@register.filter
def marked(text: Any, findings: Iterable[Any]) -> SafeString:
    """Text and findings (mappings or objects with start, end and detector or label) → text with `<mark>`s.

    Offsets count code points of the text as it was stored.
    """
    marks = [presenters.mark_of(finding) for finding in findings or ()]
    return markup(presenters.pieces(str("" if text is None else text), marks))


@register.filter
def pieces(found: Iterable[presenters.Piece]) -> SafeString:
    """Pieces of a search result → text with the words that hit in `<mark class="hit">`."""
    return markup(found, hit="hit")


@register.filter
def offset(seconds: float) -> str:
    """Seconds since a start → "+0.42 s", "+3 min 05 s", "+2 h 10 min"."""
    if seconds < 60:
        return f"+{seconds:.2f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"+{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"+{hours} h {minutes:02d} min"


def markup(pieces: Iterable[presenters.Piece], hit: str = "") -> SafeString:
    """Pieces → escaped markup; `hit` is the class of all marks, in place of a finding's."""
    return mark_safe("".join(_piece(piece, hit) for piece in pieces))


def _piece(piece: presenters.Piece, hit: str) -> str:
    # By hand: a hostile text is a million pieces, for which format_html takes half a minute.
    inner = _spelled(piece.text) if piece.hidden else escape(piece.text)
    if not piece.marked:
        return inner
    look = escape(hit or f"finding sev-{piece.severity or 'medium'}")
    return f'<mark class="{look}" title="{escape(", ".join(piece.marks))}">{inner}</mark>'


@lru_cache(maxsize=4096)
def _spelled(shown: str) -> str:
    return f'<span class="ctl" title="{escape(presenters.name(shown))}">{escape(shown)}</span>'
