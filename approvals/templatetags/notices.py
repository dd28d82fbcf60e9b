"""Where somebody is told, as forms: on the account page and for groups."""

from __future__ import annotations

from typing import Any

from django import template

from approvals.notice_models import NoticeKind, Outlet
from approvals.notify import outlets, quiet
from approvals.notify.channels import CHANNELS

register = template.Library()
# What concerns one person, and so no group's channel.
OWN = (NoticeKind.ANSWERED, NoticeKind.USER_WORD, NoticeKind.CREDENTIAL)


@register.inclusion_tag("notify/_mine.html", takes_context=True)
def my_notifications(context: dict[str, Any]) -> dict[str, Any]:
    """A person's own outlets, each as a form, and one for a new one."""
    user = context["user"]
    if user.email and CHANNELS["email"].available():
        outlets.mailbox(user)
    shown = {"outlets": outlets.of_user(user), "mails": CHANNELS["email"].available(), "user": user}
    return {**shown, "csrf_token": context.get("csrf_token"), "zones": quiet.zones()}


@register.inclusion_tag("notify/_outlet.html", takes_context=True)
def outlet_form(context: dict[str, Any], outlet: Outlet) -> dict[str, Any]:
    """One outlet: how it is doing, and how it is to be."""
    return {
        "outlet": outlet, "channel": CHANNELS[outlet.channel], "csrf_token": context.get("csrf_token"),
        "kinds": [
            (kind.value, kind.label, kind.value in outlet.kinds)
            for kind in NoticeKind
            if outlet.user_id or kind not in OWN
        ],
    }  # fmt: skip


@register.inclusion_tag("notify/_add.html", takes_context=True)
def add_outlet(context: dict[str, Any], address: str, groups: Any = None) -> dict[str, Any]:
    """The form for a new one."""
    channels = [channel for channel in CHANNELS.values() if channel.has_url]
    shown = {"address": address, "channels": channels, "groups": groups}
    return {**shown, "csrf_token": context.get("csrf_token")}
