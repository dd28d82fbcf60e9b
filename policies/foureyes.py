"""Four eyes: whoever drafted something is not the one who makes it hold (setting AGENTSEC_FOUR_EYES)."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings

from traces.models import Entry
from traces.problems import Refused

DRAFTED = "policy.drafted"
# The whole draft was set to something else at once, so edits before it are no part of it any more.
RESTORED = "policy.restored"


def required() -> bool:
    """Whether this site wants a second person."""
    return bool(settings.AGENTSEC_FOUR_EYES)


def drafters(*, since: datetime | None) -> frozenset[str]:
    """Who has a part in the draft as it is, as the log names them; `since` is the newest release's time."""
    edits = Entry.objects.filter(kind__in=(DRAFTED, RESTORED))
    if since is not None:
        edits = edits.filter(at__gt=since)
    restored = edits.filter(kind=RESTORED).order_by("-id").values_list("id", flat=True).first()
    if restored is not None:
        edits = edits.filter(id__gte=restored)
    return frozenset(edits.values_list("actor", flat=True))


def refuse_drafter(by: str, *, since: datetime | None) -> None:
    """With four-eyes, whoever touched the draft since the last release does not publish it.

    Raises Refused("forbidden").
    """
    if required() and by in drafters(since=since):
        raise Refused("forbidden", "You changed this draft yourself: somebody else has to publish it.")
