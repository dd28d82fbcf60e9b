"""The channels by name. A new one is a file beside this one, and one line here."""

from __future__ import annotations

from collections.abc import Mapping

from approvals.notify import email, slack, webhook
from approvals.notify.channel import Channel

CHANNELS: Mapping[str, Channel] = {
    each.name: each
    for each in (
        email.CHANNEL,
        slack.CHANNEL,
        webhook.CHANNEL,
    )
}
