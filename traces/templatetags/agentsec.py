"""Filters for foreign text in templates: escaped always, the invisible made visible, findings marked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from traces import presenters

register = template.Library()


@register.filter
def visible(text: Any) -> SafeString:
    """Any value → escaped markup; an invisible character is a `<span class="ctl">‹U+202E›</span>`."""
    return _markup(presenters.pieces(str("" if text is None else text)))


@register.filter
def marked(text: Any, findings: Iterable[Any]) -> SafeString:
    """Text and findings (mappings or objects with start, end and detector or label) → text with `<mark>`s.

    Offsets count code points of the text as it was stored.
    """
    marks = [presenters.mark_of(finding) for finding in findings or ()]
    return _markup(presenters.pieces(str("" if text is None else text), marks))


def _markup(pieces: Iterable[presenters.Piece]) -> SafeString:
    return format_html_join("", "{}", ((_piece(piece),) for piece in pieces))


def _piece(piece: presenters.Piece) -> SafeString | str:
    inner: SafeString | str = piece.text
    if piece.hidden:
        inner = format_html('<span class="ctl" title="{}">{}</span>', presenters.name(piece.text), piece.text)
    if piece.marked:
        inner = format_html('<mark title="{}">{}</mark>', ", ".join(piece.marks), inner)
    return inner
