"""A whole release in shadow: a frozen draft that is asked about every call, counts, and decides nothing.

It is asked after the fact, from the facts that each verdict stores, by whoever looks and by the clock. So it
adds nothing to a decision, whatever it holds: neither time nor an error can reach the call. Calls of every
process are counted, since all of them are in the database.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from approvals.models import Action
from approvals.shadow_models import ShadowRelease, ShadowVerdict
from policies import backtest, differ, releases, restoring, soundness
from policies.arguments import canonical
from policies.backtest import Difference, Past
from policies.models import Release
from policies.releases import Active
from traces import record
from traces.problems import Refused

S = ShadowRelease.State
STARTED = "policy.shadow_started"
STEP_SECONDS = 0.2
# A call is stored after it was judged, and a long one is read for seconds: an older one may still come in.
SETTLED = timedelta(seconds=15)
LAST_SECONDS = 10.0
_CHUNK = 200
_COLUMNS = ("id", "created_at", "facts_json", "verdict_json", "state")
logger = logging.getLogger(__name__)


def start(*, by: str, note: str = "", seen: str = "") -> ShadowRelease:
    """Freeze the draft as it is and let it count from now on.

    `seen` is the digest of the draft that `by` looked at. Appends `policy.shadow_started`. Raises Refused:
    invalid where it does not compile, conflict where another one runs, where the draft is what decides, or
    where it is not what was seen.
    """
    content = releases.draft_content()
    active = releases.activate(content)
    if seen and seen != active.digest:
        raise Refused("conflict", "The draft has changed since you looked at it: look again.")
    if not differ.compare(releases.newest_content(), content).items:
        raise Refused("conflict", "The draft is what decides now: there is nothing to compare.")
    now = timezone.now()
    try:
        with transaction.atomic():
            row = ShadowRelease.objects.create(
                digest=active.digest, content=canonical(content).decode(), note=note[:500], by=by,
                started_at=now, last_at=now,
            )  # fmt: skip
            _log(row, "started", by, {"note": note})
    except IntegrityError:
        raise Refused("conflict", "A release is in shadow already: stop it first.") from None
    return row


def stop(*, shadow_id: int, by: str) -> ShadowRelease:
    """Count no further; what was counted stays. Appends `policy.shadow_stopped`."""
    with transaction.atomic():
        row = _locked(shadow_id, S.RUNNING)
        _count_up(row)
        _end(row, S.STOPPED, by)
    return row


def drop(*, shadow_id: int, by: str) -> None:
    """Stop and forget what was counted. Appends `policy.shadow_dropped`."""
    with transaction.atomic():
        row = _locked(shadow_id, S.RUNNING, S.STOPPED)
        row.verdicts.all().delete()
        _end(row, S.DROPPED, by)


def promote(*, shadow_id: int, by: str, deciding: str = "", note: str = "") -> Release | None:
    """Publish exactly what is in shadow; None where four-eyes leaves that to somebody else.

    The draft is set to it first, if it has gone on since. `deciding` is the digest of the release that
    decided when `by` looked. Appends what publishing and restoring append, and `policy.shadow_promoted`.
    Raises Refused: conflict (another release decides by now, or it was stopped for good), invalid (a case
    fails), unavailable (altered, or nobody put it in shadow).
    """
    with transaction.atomic():
        row = _locked(shadow_id, S.RUNNING, S.STOPPED)
        _active(row.digest, row.content)
        if not soundness.logged(STARTED, {"shadow": row.pk, "digest": row.digest}):
            raise Refused("unavailable", "The log does not hold that this was put in shadow.")
        _count_up(row)
        done = restoring.publish_exactly(
            content=json.loads(row.content), by=by, deciding=deciding, what=f"what shadow {row.pk} holds",
            note=note or f"promoted from shadow {row.pk}",
        )  # fmt: skip
        if done is not None:
            _end(row, S.PROMOTED, by, release=done.pk)
    return done


def get(shadow_id: int) -> ShadowRelease:
    """Raises Refused("not_found")."""
    row = ShadowRelease.objects.filter(pk=shadow_id).first()
    if row is None:
        raise Refused("not_found", "There is no such release in shadow.")
    return row


def running() -> ShadowRelease | None:
    """The one that counts now."""
    return ShadowRelease.objects.filter(state=S.RUNNING).first()


def step(*, now: datetime | None = None, seconds: float = STEP_SECONDS) -> int:
    """Count on for about `seconds`; how many calls were counted. Nothing where somebody else is at it.

    Never raises for what the release holds: calls that it cannot judge are counted as such.
    """
    until = time.monotonic() + seconds
    with transaction.atomic():
        row = ShadowRelease.objects.select_for_update(skip_locked=True).filter(state=S.RUNNING).first()
        return _count_on(row, before=(now or timezone.now()) - SETTLED, until=until) if row else 0


def _count_on(row: ShadowRelease, *, before: datetime, until: float) -> int:
    counted = row.judged
    going = True
    while going:
        chunk = list(_chunk(row, before))
        verdicts = [made for past, _ in chunk if (made := _beside(row, past)) is not None]
        ShadowVerdict.objects.bulk_create(verdicts, ignore_conflicts=True)
        if chunk:
            last, row.last_at = chunk[-1]
            row.last_id = UUID(last.action)
        going = len(chunk) == _CHUNK and time.monotonic() < until
    row.save(update_fields=["last_at", "last_id", "judged", "same", "failed", "failure"])
    return row.judged - counted


def _count_up(row: ShadowRelease) -> None:
    """Everything up to now, before it ends."""
    if row.state == S.RUNNING:
        _count_on(row, before=timezone.now(), until=time.monotonic() + LAST_SECONDS)


def _chunk(row: ShadowRelease, before: datetime) -> Iterator[tuple[Past, datetime]]:
    rows = Action.objects.filter(created_at__gte=row.last_at, created_at__lte=before)
    rows = rows.filter(Q(created_at__gt=row.last_at) | Q(id__gt=row.last_id)).order_by("created_at", "id")
    for key, at, facts, verdict, state in rows.values_list(*_COLUMNS)[:_CHUNK]:
        yield Past(str(key), facts, verdict, rejected=state == Action.State.REJECTED), at


def _beside(row: ShadowRelease, past: Past) -> ShadowVerdict | None:
    """What the release in shadow says of one call, if it says something else; counted in any case."""
    row.judged += 1
    try:
        active = _active(row.digest, row.content)
        found = backtest.judge([past], compiled=active.compiled, tools=active.tools, into=Difference())
    except Exception as error:  # noqa: BLE001 - whatever it stumbles over is counted, and shown on its page
        logger.warning("shadow %s could not judge %s: %s", row.pk, past.action, error)
        _fail(row, f"{type(error).__name__}: {error}")
        return None
    if found.unread:
        _fail(row, f"the facts of call {past.action} cannot be read")
        return None
    changes: Sequence[Any] = [*found.changes(rejected=True), *found.changes(rejected=False)]
    row.same += not changes
    return _verdict(row, past, changes[0]) if changes else None


def _fail(row: ShadowRelease, why: str) -> None:
    row.failed += 1
    row.failure = why.replace("\x00", "")[:500]


def _verdict(row: ShadowRelease, past: Past, change: Any) -> ShadowVerdict:
    return ShadowVerdict(
        shadow=row, action_id=UUID(past.action), before=change.before, after=change.after,
        then=sorted(change.group.then), now=sorted(change.group.now),
    )  # fmt: skip


@lru_cache(maxsize=2)
def _active(digest: str, content: str) -> Active:
    stored = json.loads(content)
    if releases.digest_of(stored) != digest:
        raise Refused("unavailable", "The release in shadow was altered: it does not match its digest.")
    return releases.activate(stored)


def _locked(shadow_id: int, *states: str) -> ShadowRelease:
    row = ShadowRelease.objects.select_for_update().filter(pk=shadow_id).first()
    if row is None:
        raise Refused("not_found", "There is no such release in shadow.")
    if row.state not in states:
        raise Refused("conflict", f"It was {row.state} already.")
    return row


def _end(row: ShadowRelease, state: str, by: str, **told: Any) -> None:
    # The first end stays: from then on nothing was counted.
    row.state, row.ended_at = state, row.ended_at or timezone.now()
    row.save(update_fields=["state", "ended_at"])
    _log(row, state, by, {"judged": row.judged, "same": row.same, "failed": row.failed, **told})


def _log(row: ShadowRelease, what: str, by: str, told: dict[str, Any]) -> None:
    body = {"shadow": row.pk, "digest": row.digest, **told}
    record.append(kind=f"policy.shadow_{what}", actor=by, body=body, title=f"Release in shadow {what}")
