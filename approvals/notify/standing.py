"""How telling people is doing, for the health page: what is late, what could not be delivered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from approvals.notice_models import Notice, Occasion, Outlet
from approvals.notify import email, words

LATE = timedelta(minutes=1)
RECENT = timedelta(hours=24)


@dataclass(frozen=True)
class Standing:
    """`late` and `trouble` are sentences without a full stop, empty where all is well."""

    late: str
    trouble: str
    detail: str


def read() -> Standing:
    """Three counts and a list of at most three outlets that fail."""
    now = timezone.now()
    waits = Occasion.objects.filter(due_at__lt=now - LATE).count()
    failing = list(
        Outlet.objects.filter(failed_at__gt=now - RECENT)
        .select_related("user", "group")
        .order_by("-failed_at")
    )
    sent = Notice.objects.filter(state=Notice.State.SENT, ended_at__gt=now - RECENT).count()
    mail = "" if email.available() else "; no mail is sent: EMAIL_HOST is not set"
    return Standing(
        late=f"{words.count(waits, 'event is', 'events are')} not told to anybody yet" if waits else "",
        trouble="; ".join(_said(outlet) for outlet in failing[:3]) + _more(len(failing) - 3),
        detail=f"{words.count(sent, 'notice', 'notices')} sent in 24 hours{mail}",
    )


def _said(outlet: Outlet) -> str:
    """Whose it is for a group; of people only that it is somebody's: everybody reads this page."""
    if outlet.group is None:
        return f"{outlet.channel} of a person: given up, their account page says why"
    return f"{outlet.channel} of {outlet.group.name}: given up ({outlet.last_error})"


def _more(number: int) -> str:
    return f"; and {number} more" if number > 0 else ""
