"""Being away, and who stands in meanwhile.

A stand-in may decide what the absent person could, as a vote for that person's group, and counts as one
person wherever they vote. It goes one step: who stands in for a stand-in does not stand in for the first.
The absent person keeps their own vote.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from policies import foureyes
from policies.absence_models import Absence, covered_groups, covering, in_force
from policies.access import Verb, may
from policies.accounts import log
from policies.models import Role, User
from traces import dbtime, live, record
from traces.models import Entry
from traces.problems import Refused

AWAY, BACK = "person.away", "person.back"
LONGEST = timedelta(days=366)
# Longer than the clock's tick, so that no moment falls between two looks.
JUST = timedelta(seconds=2)


@transaction.atomic
def go_away(
    *, user: User, since: datetime | None, until: datetime, stand_in: User | None = None, by: str
) -> Absence:
    """Be away from `since` (now, where it is past or None) to `until`, with somebody who stands in or nobody.

    The caller has asked whether `by` may: oneself, or who edits people. Locks both people. Appends
    `person.away`. Raises Refused: invalid (times, an unfit stand-in, one who is away then), conflict (an
    absence stands already); foureyes.NeedsSecond where a second person has to confirm a stand-in.
    """
    now = dbtime.now()
    begins = max(since or now, now)
    if not timedelta(0) < until - begins <= LONGEST or begins - now > LONGEST:
        raise Refused("invalid", "An absence ends after it begins, and within a year.", field="until")
    # As the row gives them back: what is sealed is held against it, and a zone would make another text.
    begins, until = begins.astimezone(UTC), until.astimezone(UTC)
    _lock(user, stand_in)
    if standing := of(user):
        raise Refused("conflict", f"An absence until {_said(standing.until)} stands already: end that first.")
    if stand_in is not None:
        _refuse_unfit(user, stand_in, begins, until)
        foureyes.gate(wish(user, begins, until, stand_in), by=by)
    body = {
        "user": user.pk, "since": begins.isoformat(), "until": until.isoformat(),
        "stand_in": stand_in.pk if stand_in else None,
    }  # fmt: skip
    whose = f", {stand_in.username} stands in" if stand_in else ""
    title = f"{user.username} is away until {_said(until)}{whose}"
    entry = record.append(kind=AWAY, actor=by, body=body, subject=f"person:{user.pk}", title=title)
    row = Absence.objects.create(
        user=user, stand_in=stand_in, since=begins, until=until, entry=entry.uuid, at=now
    )
    _tell()
    return row


@transaction.atomic
def come_back(*, user: User, by: str) -> Absence | None:
    """End a person's absence, begun or not; it, or None where there was none. Appends `person.back`."""
    _lock(user)
    row = of(user)
    if row is None:
        return None
    row.ended_at = max(dbtime.now(), row.since)
    row.save(update_fields=["ended_at"])
    log(BACK, by, user, {"away": str(row.entry)}, "is back")
    _tell()
    return row


def tell_due(now: datetime) -> int:
    """Let sockets ask again where an absence has just begun or ended by itself; how many have."""
    span = (now - JUST, now)
    rows = Absence.objects.filter(ended_at=None).exclude(stand_in=None)
    found = rows.filter(Q(since__range=span) | Q(until__range=span)).count()
    if found:
        _tell()
    return found


def of(user: User) -> Absence | None:
    """The absence of this person that lasts or is to come."""
    rows = Absence.objects.filter(user=user, ended_at=None, until__gt=dbtime.now())
    return rows.select_related("stand_in").order_by("since").first()


def lasting(row: Absence | None) -> bool:
    """Whether this absence has begun."""
    return row is not None and row.since <= dbtime.now()


def read_for(users: Iterable[User]) -> None:
    """Read for many people at once for whom they stand in; two queries at most."""
    people = list(users)
    rows: dict[int, list[Absence]] = {}
    for row in covering(user.pk for user in people).filter(in_force(dbtime.now())):
        rows.setdefault(row.stand_in_id or 0, []).append(row)
    for user in people:
        user._covers = covered_groups(rows.get(user.pk, ())) if user.has_role(Role.APPROVER) else {}


def fit(user: User) -> list[User]:
    """Who could stand in for this person: everybody else who may approve, by name."""
    rows = User.objects.filter(is_active=True, roles__contains=[Role.APPROVER]).exclude(pk=user.pk)
    return list(rows.order_by("username"))


def may_set(editor: User, user: User) -> bool:
    """Whether one may set the other's absence: one's own, or as who edits people."""
    return editor.pk == user.pk or may(editor, Verb.PEOPLE_EDIT).allowed


def unsworn(row: Absence, *, at: datetime) -> str:
    """Why the log does not hold that this absence was in force at that moment; empty where it does."""
    entry = Entry.objects.select_related("subject_key").filter(uuid=row.entry).first()
    header, body = record.as_sealed(entry)
    told = {
        "user": row.user_id, "stand_in": row.stand_in_id,
        "since": row.since.isoformat(), "until": row.until.isoformat(),
    }  # fmt: skip
    if header.get("kind") != AWAY or any(body.get(name) != value for name, value in told.items()):
        return f"the log does not hold that {row.user.username} was away"
    if not row.since <= at < row.until:
        return f"{row.user.username} was not away then"
    for back in Entry.objects.select_related("subject_key").filter(
        kind=BACK, subject_key_id=UUID(header["key"])
    ):
        ended, said = record.as_sealed(back)
        if said.get("away") == str(row.entry) and datetime.fromisoformat(ended["at"]) <= at:
            return f"{row.user.username} was back by then"
    return ""


def wish(user: User, since: datetime, until: datetime, stand_in: User) -> foureyes.Wish:
    """A stand-in as a change that waits for a second person: they get what the absent person may."""
    title = f"{user.username} is away until {_said(until)}, {stand_in.username} stands in"
    after = {"since": since.isoformat(), "until": until.isoformat(), "stand_in": stand_in.username}
    return foureyes.Wish("person.away", str(user.pk), title, None, after)


def apply_wish(target: User, after: Mapping[str, Any], *, by: str) -> None:
    """Do what a second person has confirmed."""
    stand_in = User.objects.filter(username=after["stand_in"]).first()
    if stand_in is None:
        raise Refused("not_found", f"There is no person called {after['stand_in']}.")
    since, until = (datetime.fromisoformat(after[name]) for name in ("since", "until"))
    go_away(user=target, since=since, until=until, stand_in=stand_in, by=by)


def _refuse_unfit(user: User, stand_in: User, since: datetime, until: datetime) -> None:
    if stand_in.pk == user.pk:
        raise Refused("invalid", "Somebody else has to stand in.", field="stand_in")
    if not stand_in.has_role(Role.APPROVER):
        why = f"{stand_in.username} cannot stand in: that takes an active person with the role approver."
        raise Refused("invalid", why, field="stand_in")
    away = Absence.objects.filter(Q(ended_at=None), user=stand_in, since__lt=until, until__gt=since)
    if away.exists():
        # So nobody stands in for somebody who stands in for them.
        why = f"{stand_in.username} is away then too: choose somebody else."
        raise Refused("invalid", why, field="stand_in")


def _lock(*people: User | None) -> None:
    """In one order, so that two who name each other do not wait for each other for ever."""
    keys = [person.pk for person in people if person is not None]
    list(User.objects.select_for_update(no_key=True).filter(pk__in=keys).order_by("pk").values_list("pk"))


def _tell() -> None:
    """Sockets ask again what their people may see."""
    live.publish("inbox", {"type": "standing"})


def _said(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
