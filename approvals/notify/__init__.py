"""Telling people what waits for them, by mail, Slack-compatible and signed webhooks.

`about` writes down that there is something to tell, in the transaction of what happened. Who is told, and
whether there still is anything to tell, is found out when its time has come (`routing`), and again when it is
sent (`sending`). Nothing here decides anything, and no message holds a link that would.
"""

from __future__ import annotations

from approvals.notice_models import NoticeKind
from approvals.notify.occasions import about

__all__ = ["NoticeKind", "about"]
