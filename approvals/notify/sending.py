"""The sender: claims an outlet, makes a message of what it is owed, delivers it, writes down what came of it.

At least once: a claim ends by itself, so what a dead sender had claimed is sent by the next one, under the
same message id. One message a minute an outlet at most, and after a storm one in five minutes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connections, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from approvals.notice_models import Notice, NoticeKind, Outlet
from approvals.notify import letters, outlets, quiet, relevance, routing, warnings
from approvals.notify.channel import Destination, Undelivered
from approvals.notify.channels import CHANNELS
from approvals.notify.letters import Letter
from traces import record

N = Notice.State
TICK_SECONDS = 1.0
THREADS = 4
# Longer than any delivery takes, or two senders would tell the same.
LEASE = timedelta(minutes=2)
PAUSE = timedelta(minutes=1)
STORM, STORM_PAUSE = letters.MOST, timedelta(minutes=5)
RETRIES = tuple(timedelta(seconds=seconds) for seconds in (15, 60, 240, 600, 1200))
KEPT = timedelta(days=30)
AT_ONCE = 500
# Columns of an action that can hold megabytes and that no message needs.
HEAVY = ("action__args_json", "action__facts_json", "action__origins_json", "action__result_json")
logger = logging.getLogger(__name__)

Deliver = Callable[[str, Letter, Destination], None]


@dataclass(frozen=True)
class Claimed:
    """An outlet that is ours until the lease ends; `token` guards everything that we write of it."""

    outlet: UUID
    token: UUID


@dataclass(frozen=True)
class Prepared:
    """A message and where it goes."""

    letter: Letter
    channel: str
    destination: Destination
    attempt: int


def run(stop: threading.Event, number: int = 0) -> None:
    """Send until told to stop; a database that is away is waited for. The first looks for work every second,
    the others more rarely: they matter while a receiver is slow.
    """
    while not stop.wait(TICK_SECONDS * (1 + 2 * number)):
        try:
            tend(stop)
        except DatabaseError as error:
            logger.warning("notifications wait for the database: %s", str(error).splitlines()[0])
            connections.close_all()
        except Exception:
            logger.exception("notifications stumbled")
        finally:
            close_old_connections()
    connections.close_all()


def start(stop: threading.Event) -> list[threading.Thread]:
    """Threads that send beside the clock, so that a slow mail server holds up nobody but itself."""
    threads = [
        threading.Thread(target=run, args=(stop, number), name=f"notify-{number}", daemon=True)
        for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    return threads


def tend(stop: threading.Event | None = None) -> None:
    """Route and send everything that is due."""
    while routing.route(now=timezone.now()) == routing.BATCH:
        pass
    while not (stop is not None and stop.is_set()) and step(now=timezone.now()):
        pass
    while not (stop is not None and stop.is_set()) and warnings.step(now=timezone.now()):
        pass


def step(*, now: datetime, deliver: Deliver | None = None) -> bool:
    """One outlet: whether there was one. What goes wrong in making a message counts as an attempt."""
    claimed = claim(now=now)
    if claimed is None:
        return False
    try:
        prepared = prepare(claimed, now=now)
        if prepared is None:
            return True
        (deliver or _deliver)(prepared.channel, prepared.letter, prepared.destination)
    except Undelivered as undelivered:
        failed(claimed, undelivered, now=now)
    except DatabaseError:
        raise
    except Exception as error:
        logger.exception("a message could not be made or sent")
        failed(claimed, Undelivered(f"it could not be made ({type(error).__name__})"), now=now)
    else:
        succeeded(claimed, now=now)
    return True


def claim(*, now: datetime) -> Claimed | None:
    """Take an outlet that is owed something now, if there is one that nobody has."""
    owed = Notice.objects.filter(state=N.WAITING, due_at__lte=now).values("outlet")
    free = Q(claimed_until=None) | Q(claimed_until__lte=now)
    with transaction.atomic():
        rows = Outlet.objects.select_for_update(skip_locked=True, of=("self",))
        outlet = rows.filter(free, pk__in=owed, enabled=True, next_at__lte=now).order_by("next_at").first()
        if outlet is None:
            return None
        claimed = Claimed(outlet.pk, uuid4())
        Outlet.objects.filter(pk=outlet.pk).update(claim=claimed.token, claimed_until=now + LEASE)
    return claimed


@transaction.atomic
def prepare(claimed: Claimed, *, now: datetime) -> Prepared | None:
    """The message that the outlet is owed now, looked at with fresh eyes: what was decided, what nobody may
    see any more and what nobody wants is dropped. None where nothing is left or it must wait; then the claim
    has ended. Locks the outlet.
    """
    outlet = _held(claimed)
    if outlet is None:
        return None
    left = _fit(outlet, now)
    if not left:
        _release(claimed, message=None, attempts=0)
        return None
    later = _later(outlet, left, now)
    if later is not None:
        _release(claimed, next_at=later)
        return None
    message = outlet.message or uuid4()
    Notice.objects.filter(pk__in=[notice.pk for notice in left]).update(message=message)
    Outlet.objects.filter(pk=outlet.pk).update(message=message)
    bare = outlet.bare or settings.AGENTSEC_NOTIFY_BARE
    site = settings.AGENTSEC_URL.rstrip("/")
    letter = letters.write(left, outlet=outlet, message=str(message), now=now, site=site, bare=bare)
    return Prepared(letter, outlet.channel, outlets.destination(outlet), outlet.attempts + 1)


@transaction.atomic
def succeeded(claimed: Claimed, *, now: datetime) -> None:
    """The message has arrived. Locks the outlet; appends `notice.sent`; nothing where the claim was lost."""
    outlet = _held(claimed)
    if outlet is None:
        return
    rows = _under_way(outlet)
    told = _told(outlet, rows)
    rows.update(state=N.SENT, ended_at=now)
    _release(claimed, message=None, attempts=0, sent_at=now, next_at=now + PAUSE, failed_at=None,
             last_error="")  # fmt: skip
    _log("notice.sent", outlet, told, f"Told by {outlet.channel}")


@transaction.atomic
def failed(claimed: Claimed, undelivered: Undelivered, *, now: datetime) -> None:
    """It did not arrive: once more later, or given up after the sixth time, or never again where it is gone.

    Locks the outlet; appends `notice.given_up`, and `outlet.off`.
    """
    outlet = _held(claimed)
    if outlet is None:
        return
    if undelivered.gone:
        outlets.switch_off(outlet, why=f"{undelivered.why}: nothing is sent there any more", by="agentsec")
    elif outlet.attempts < len(RETRIES):
        pause = max(RETRIES[outlet.attempts], timedelta(seconds=undelivered.after))
        _release(claimed, attempts=outlet.attempts + 1, next_at=now + pause, last_error=undelivered.why)
        return
    rows = _under_way(outlet)
    told = {**_told(outlet, rows), "attempts": outlet.attempts + 1, "why": undelivered.why}
    rows.update(state=N.GIVEN_UP, why=undelivered.why[:200], ended_at=now)
    _release(claimed, message=None, attempts=0, failed_at=now, next_at=now + PAUSE,
             last_error=undelivered.why)  # fmt: skip
    _log("notice.given_up", outlet, told, f"Nobody could be told by {outlet.channel}")


def forget() -> int:
    """Delete notices of more than a month ago; the log keeps what was sent."""
    return Notice.objects.filter(ended_at__lt=timezone.now() - KEPT).delete()[0]


def _deliver(channel: str, letter: Letter, destination: Destination) -> None:
    CHANNELS[channel].deliver(letter, destination)


def _held(claimed: Claimed) -> Outlet | None:
    """The outlet with its row locked, if the claim on it is still ours."""
    rows = Outlet.objects.select_for_update(of=("self",)).select_related("user", "group")
    return rows.filter(pk=claimed.outlet, claim=claimed.token).first()


def _release(claimed: Claimed, **values: object) -> None:
    held = Outlet.objects.filter(pk=claimed.outlet, claim=claimed.token)
    held.update(claim=None, claimed_until=None, **values)


def _fit(outlet: Outlet, now: datetime) -> list[Notice]:
    """What is owed now and still worth telling; the rest is dropped, each with the reason.

    A message that was tried already keeps to what it held: its id stands for that.
    """
    rows = Notice.objects.filter(outlet=outlet, state=N.WAITING, due_at__lte=now, message=outlet.message)
    found = rows.select_related("action__session", "action__agent").defer(*HEAVY)
    left: list[Notice] = []
    over: list[Notice] = []
    for notice in found.order_by("due_at", "id")[:AT_ONCE]:
        why = _why_not(notice, outlet, now)
        (over if why else left).append(notice)
        notice.why, notice.state, notice.ended_at = (why, N.DROPPED, now) if why else ("", N.WAITING, None)
    Notice.objects.bulk_update(over, ["why", "state", "ended_at"])
    return left


def _why_not(notice: Notice, outlet: Outlet, now: datetime) -> str:
    if over := relevance.over(notice.action, notice.kind, now=now):
        return over
    if notice.kind not in outlet.kinds:
        return "nobody wants to be told that there any more"
    allowed = relevance.may_hear(outlet, notice.action, notice.kind)
    return "" if allowed else "this may not be seen there any more"


def _later(outlet: Outlet, left: list[Notice], now: datetime) -> datetime | None:
    """Until when it must wait: for quiet hours to end, or for a storm to pass. Urgent things do not."""
    waiting = [notice.action.deadline for notice in left if notice.kind != NoticeKind.DECIDED]
    first = min(waiting, default=now + timedelta(days=365))
    quiet_end = quiet.until(now, zone=outlet.zone, start=outlet.quiet_from, end=outlet.quiet_to)
    if quiet_end is not None and not (outlet.urgent and first <= quiet_end):
        # It looks again from time to time where something urgent may come; else it may sleep.
        return min(quiet_end, now + PAUSE) if outlet.urgent else quiet_end
    if outlet.sent_at is None or outlet.message is not None:
        return None
    recent = Notice.objects.filter(outlet=outlet, state=N.SENT, ended_at__gt=now - STORM_PAUSE)
    calm = outlet.sent_at + STORM_PAUSE
    if now >= calm or recent.count() <= STORM or first <= calm + PAUSE:
        return None
    return min(calm, now + PAUSE)


def _under_way(outlet: Outlet) -> QuerySet[Notice]:
    return Notice.objects.filter(outlet=outlet, message=outlet.message, state=N.WAITING)


def _told(outlet: Outlet, rows: Iterable[Notice]) -> dict[str, object]:
    """Who was told of what, and nothing of what it said."""
    found = list(rows)
    return {
        "channel": outlet.channel, "to": outlet.owner, "outlet": str(outlet.pk), "host": outlet.host,
        "message": str(outlet.message), "kinds": sorted({notice.kind for notice in found}),
        "actions": sorted({str(notice.action_id) for notice in found}),
    }  # fmt: skip


def _log(kind: str, outlet: Outlet, body: dict[str, object], title: str) -> None:
    actions = body["actions"]
    one = actions[0] if isinstance(actions, list) and len(actions) == 1 else None
    about = f"person:{outlet.user_id}" if outlet.user_id else ""
    record.append(kind=kind, actor="agentsec", body=body, subject=about, action=one, title=title)
