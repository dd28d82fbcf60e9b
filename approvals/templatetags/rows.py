"""A row of the inbox as its page and its live messages show it."""

from __future__ import annotations

from django import template

from approvals import rowtext
from approvals.presenters import Row

register = template.Library()


@register.filter
def drawn(row: Row) -> str:
    """The row's markup."""
    return rowtext.html(row)
