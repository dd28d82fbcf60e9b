"""Whether those who listen may still listen: one query for all sockets, whenever something is told.

A socket remembers the mark of its person as of its handshake: a hash over everything that says who they are
and what they may. PostgreSQL compares the marks, looks for the sign-ins, and names only those that no longer
hold. That look at a thousand sockets costs some milliseconds. So where all held, it is remembered from which
transactions on something could have changed since (`StandingChange`, written by triggers) and until when
nothing ends by itself, and the next look asks only whether that is still so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.models import Session as SignIn
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from approvals.live_models import StandingChange
from policies import factors
from policies.models import User

_PLAIN = re.compile(r"[0-9A-Za-z]+")
SIGNED_OUT, CHANGED = "signed out", "changed"

# A row as text quotes its fields: no two people share a mark, whatever their groups are called.
_MARKS = """
    SELECT u.id, encode(
        sha256(convert_to(row(u.password, u.is_active, u.roles, g.names, c.names, (
            %(factors)s AND NOT EXISTS (SELECT FROM policies_passkey k WHERE k.user_id = u.id)
            AND NOT EXISTS (SELECT FROM policies_authenticatorapp t WHERE t.user_id = u.id)
        ))::text, 'UTF8')), 'hex'
    ) AS mark
    FROM policies_user u LEFT JOIN (
        SELECT m.user_id, array_agg(a.name ORDER BY a.name) AS names
        FROM policies_user_groups m JOIN auth_group a ON a.id = m.group_id
        WHERE m.user_id = ANY(%(users)s::bigint[]) GROUP BY m.user_id
    ) g ON g.user_id = u.id LEFT JOIN (
        SELECT w.stand_in_id, array_agg(DISTINCT a.name ORDER BY a.name) AS names
        FROM policies_absence w JOIN policies_user p ON p.id = w.user_id AND p.is_active
        JOIN policies_user_groups m ON m.user_id = p.id JOIN auth_group a ON a.id = m.group_id
        WHERE w.stand_in_id = ANY(%(users)s::bigint[]) AND w.since <= now() AND w.until > now()
            AND (w.ended_at IS NULL OR w.ended_at > now()) AND 'approver' = ANY(p.roles)
        GROUP BY w.stand_in_id
    ) c ON c.stand_in_id = u.id
    WHERE u.id = ANY(%(users)s::bigint[])
"""
_FALLEN = f"""
    SELECT l.place FROM unnest(%(listeners)s::bigint[], %(sign_ins)s::text[], %(marks)s::text[])
        WITH ORDINALITY AS l (user_id, sign_in, mark, place)
    LEFT JOIN ({_MARKS}) u ON u.id = l.user_id
    LEFT JOIN django_session s ON s.session_key = l.sign_in AND s.expire_date > now()
    WHERE u.mark IS DISTINCT FROM l.mark OR s.session_key IS NULL
"""
# Read before the look that it vouches for: what ends or begins next by itself, of whomever.
_HORIZON = """
    SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, least(
        (SELECT min(expire_date) FROM django_session WHERE session_key = ANY(%(sign_ins)s::text[])),
        (SELECT min(since) FROM policies_absence WHERE since > now()),
        (SELECT min(until) FROM policies_absence WHERE until > now()),
        (SELECT min(ended_at) FROM policies_absence WHERE ended_at > now()),
        now() + make_interval(secs => %(trusted)s)
    )
"""
_STIRRED = """
    SELECT clock_timestamp() >= %s OR EXISTS (SELECT FROM approvals_standingchange WHERE xid >= %s)
"""
# How long a look is built on at most, and how long changes are kept, which is longer.
TRUSTED, KEPT = timedelta(minutes=10), timedelta(hours=1)


@dataclass(frozen=True)
class Vouched:
    """All of a roll stood by a look later than this: what can have changed since is of transactions from
    `xid` on, or comes of itself at `until`."""

    xid: int
    until: datetime


@dataclass(frozen=True)
class Audience:
    """People to whom everything looks the same: what they may depends on this alone."""

    roles: frozenset[str]
    groups: frozenset[str]

    @cached_property
    def person(self) -> User:
        """One of them, nobody in particular, to be asked about in `policies.access`."""
        user = User(is_active=True, roles=sorted(self.roles))
        user._group_names, user._covers = self.groups, {}
        return user


@dataclass(frozen=True)
class Guest:
    """Who opened a socket, and what held then: a change of any of it ends the socket."""

    user_id: int
    sign_in: str
    mark: str
    audience: Audience

    @classmethod
    def of(cls, user_id: int, sign_in: str) -> Guest | None:
        """As they stand now; None for somebody who is not there or switched off."""
        # The mark first: what changes in between makes the mark wrong, and that ends the socket.
        mark = marks([user_id]).get(user_id)
        user = User.objects.filter(pk=user_id, is_active=True).first()
        if user is None or mark is None or not _PLAIN.fullmatch(sign_in):
            return None
        return cls(user.pk, sign_in, mark, Audience(frozenset(user.roles), user.answers_for))


@dataclass(eq=False)
class Roll:
    """The guests of some sockets, as PostgreSQL is asked about them; made once while they stay the same."""

    guests: tuple[Guest, ...]
    vouched: Vouched | None = field(default=None, init=False)

    @cached_property
    def asked(self) -> Mapping[str, str | bool]:
        """As array literals: adapting thousands of values for each message costs more than the answer."""
        return {
            "users": _literal(sorted({guest.user_id for guest in self.guests})),
            "listeners": _literal(guest.user_id for guest in self.guests),
            "sign_ins": _literal(guest.sign_in for guest in self.guests),
            "marks": _literal(guest.mark for guest in self.guests),
            "factors": settings.AGENTSEC_REQUIRE_MFA,
        }


@dataclass(eq=False)
class Glance:
    """Whether anything stirred since the last look at a roll. It may go in one message with another
    statement: to wait for two answers takes longer than the question.
    """

    vouched: Vouched | None
    _stirred: bool | None = field(default=None, init=False)

    def after(self, sql: CursorWrapper, statement: str, given: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The rows of this statement; the glance is asked behind it, so that its snapshot is never older."""
        if self.vouched is None:
            sql.execute(statement, given)
            return list(sql.fetchall())
        sql.execute(f"{statement};{_STIRRED}", [*given, self.vouched.until, self.vouched.xid])
        rows = list(sql.fetchall())
        sql.nextset()
        (self._stirred,) = sql.fetchone()
        return rows

    def stirred(self) -> bool:
        """True also where there was no look; asked now where it went with nothing."""
        if self.vouched is None:
            return True
        if self._stirred is None:
            with connection.cursor() as sql:
                sql.execute(_STIRRED, [self.vouched.until, self.vouched.xid])
                (self._stirred,) = sql.fetchone()
        return bool(self._stirred)


def marks(user_ids: Iterable[int]) -> Mapping[int, str]:
    """The mark of each of these people who exists."""
    with connection.cursor() as sql:
        sql.execute(_MARKS, {"users": _literal(user_ids), "factors": settings.AGENTSEC_REQUIRE_MFA})
        return dict(sql.fetchall())


def fallen(roll: Roll) -> Mapping[int, str]:
    """By place in the roll, why a socket ends: "signed out" or "changed"; empty while everything stands."""
    if not roll.guests:
        return {}
    with connection.cursor() as sql:
        sql.execute(_HORIZON, {**roll.asked, "trusted": TRUSTED.total_seconds()})
        vouched = Vouched(*sql.fetchone())
        sql.execute(_FALLEN, roll.asked)
        places = [int(place) - 1 for (place,) in sql.fetchall()]
    roll.vouched = None if places else vouched
    return {place: _why(roll.guests[place]) for place in places}


def fallen_since(roll: Roll, glance: Glance | None = None) -> Mapping[int, str]:
    """The same, by a glance where all stood at the last look and nothing has stirred."""
    glance = glance or Glance(roll.vouched)
    return fallen(roll) if glance.stirred() else {}


def forget(now: datetime) -> int:
    """Let go what every room has looked at long since."""
    return StandingChange.objects.filter(at__lt=now - KEPT).delete()[0]


def _literal(values: Iterable[int | str]) -> str:
    """An array as PostgreSQL reads it. Raises ValueError for what would have to be quoted."""
    texts = [str(value) for value in values]
    if not all(_PLAIN.fullmatch(text) for text in texts):
        raise ValueError("numbers, keys of sign-ins and marks are plain")
    return "{" + ",".join(texts) + "}"


def _why(guest: Guest) -> str:
    """The word for somebody who does not stand as before: a changed room, or the door for whoever would not
    be let in again.
    """
    person = User.objects.filter(pk=guest.user_id, is_active=True).first()
    if person is None or not _signed_in(guest, person) or factors.lacking(person):
        return SIGNED_OUT
    return CHANGED


def _signed_in(guest: Guest, person: User) -> bool:
    """Whether the sign-in still is one of theirs, under the password of today: as Django asks of a request,
    without its writing anything.
    """
    row = SignIn.objects.filter(session_key=guest.sign_in, expire_date__gt=timezone.now()).first()
    said = row.get_decoded() if row is not None else {}
    valid = (person.get_session_auth_hash(), *person.get_session_auth_fallback_hash())
    sealed = any(constant_time_compare(said.get(HASH_SESSION_KEY, ""), one) for one in valid)
    return sealed and said.get(SESSION_KEY) == str(person.pk)
