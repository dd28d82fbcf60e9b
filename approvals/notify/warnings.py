"""Sending warnings of credentials: all that one outlet is owed in one message, again later where it fails.

A message is sent while its rows are locked, so that of several senders one sends it. At least once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import uuid4

from django.conf import settings
from django.db import transaction

from approvals.notice_models import NoticeKind, Outlet
from approvals.notify import letters, outlets, quiet
from approvals.notify.channel import Undelivered
from approvals.notify.channels import CHANNELS
from approvals.notify.letters import Letter
from approvals.warning_models import WarningNotice
from policies.firewall import known
from traces import record
from traces.problems import Refused

W = WarningNotice.State
RETRIES = tuple(timedelta(seconds=seconds) for seconds in (15, 60, 240, 600, 1200))
MOST = 20
logger = logging.getLogger(__name__)


@transaction.atomic
def step(*, now: datetime) -> bool:
    """Send what one outlet is owed; whether there was one. Locks its notices.

    Appends `warning.sent`, or `warning.given_up` after the sixth attempt.
    """
    rows = WarningNotice.objects.select_for_update(skip_locked=True, of=("self",))
    due = rows.filter(state=W.WAITING, next_at__lte=now).order_by("next_at", "pk")
    first = due.first()
    if first is None:
        return False
    owed = list(due.filter(outlet=first.outlet_id).select_related("warned")[:MOST])
    outlet = Outlet.objects.select_related("user", "group").get(pk=first.outlet_id)
    if why := _unwanted(outlet):
        _set(owed, state=W.GIVEN_UP, why=why)
    elif later := quiet.until(now, zone=outlet.zone, start=outlet.quiet_from, end=outlet.quiet_to):
        _set(owed, next_at=later)
    else:
        _send(outlet, owed, now)
    return True


def _unwanted(outlet: Outlet) -> str:
    if not outlet.enabled or NoticeKind.CREDENTIAL not in outlet.kinds:
        return "nobody wants to be told that there any more"
    return "" if outlet.user is not None and outlet.user.is_active else "nobody is there any more"


def _send(outlet: Outlet, owed: Sequence[WarningNotice], now: datetime) -> None:
    message = owed[0].message or uuid4()
    try:
        CHANNELS[outlet.channel].deliver(
            _letter(outlet, owed, str(message), now), outlets.destination(outlet)
        )
    except (Undelivered, Refused) as error:
        why = error.why if isinstance(error, Undelivered) else error.detail
        return _failed(outlet, owed, why, now)
    _set(owed, state=W.SENT, message=message)
    return _log("warning.sent", outlet, owed, f"Warned by {outlet.channel}")


def _failed(outlet: Outlet, owed: Sequence[WarningNotice], why: str, now: datetime) -> None:
    attempts = max(notice.attempts for notice in owed)
    if attempts < len(RETRIES):
        _set(owed, attempts=attempts + 1, next_at=now + RETRIES[attempts], why=why[:300])
        return
    _set(owed, state=W.GIVEN_UP, why=why[:300])
    _log("warning.given_up", outlet, owed, f"Nobody could be warned by {outlet.channel}")


def _letter(outlet: Outlet, owed: Sequence[WarningNotice], message: str, now: datetime) -> Letter:
    bare = outlet.bare or settings.AGENTSEC_NOTIFY_BARE
    clean = known.current().masked
    notes = tuple(clean(notice.warned.said) for notice in owed)
    site = settings.AGENTSEC_URL.rstrip("/")
    return letters.warning(notes, message=message, now=now, site=site, bare=bare)


def _set(owed: Sequence[WarningNotice], **values: object) -> None:
    WarningNotice.objects.filter(pk__in=[notice.pk for notice in owed]).update(**values)


def _log(kind: str, outlet: Outlet, owed: Sequence[WarningNotice], title: str) -> None:
    body = {
        "channel": outlet.channel, "to": outlet.owner, "outlet": str(outlet.pk),
        "about": sorted(notice.warned.about for notice in owed),
    }  # fmt: skip
    about = f"person:{outlet.user_id}" if outlet.user_id else ""
    record.append(kind=kind, actor="agentsec", body=body, subject=about, title=title)
