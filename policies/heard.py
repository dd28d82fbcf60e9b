"""What was said in a session, kept ready to match arguments against.

Preparing a mebibyte of text takes a tenth of a second and looking a value up in it microseconds, so each
process keeps what it has prepared of a session and at the next call adds what was said since. That is safe
because a row never changes (the database refuses it); which rows there are is asked each time, so what
another transaction took back, or a person erased, is never matched against.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Aggregate, BigIntegerField, Count, Max, QuerySet, Sum

from policies import provenance, records
from policies.calls import Call
from policies.models import Source
from traces.models import Session
from traces.problems import Refused

# What of one session arguments are matched against at most, in `Source.weight`.
MAX_HEARD = 1 << 24
# What one process keeps at most. A session beyond it by itself is prepared anew at each call.
MAX_KEPT = 128 << 20


class _Xor(Aggregate):
    function = "bit_xor"
    output_field = BigIntegerField()


@dataclass(frozen=True)
class _Rows:
    """Which rows there are: how many, the last one's id, and their stamps together."""

    count: int = 0
    last: int = 0
    stamps: int = 0

    def and_then(self, rows: Sequence[Source]) -> _Rows:
        stamps = self.stamps
        for row in rows:
            stamps ^= row.stamp
        return _Rows(self.count + len(rows), rows[-1].pk if rows else self.last, stamps)


@dataclass(frozen=True)
class _Kept:
    rows: _Rows
    index: provenance.Index


class Shelf:
    """The indexes of the sessions that were asked about last, `limit` octets of them at most."""

    def __init__(self, limit: int) -> None:
        self.limit, self.octets = limit, 0
        self._kept: OrderedDict[UUID, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, session: UUID) -> _Kept | None:
        with self._lock:
            if session in self._kept:
                self._kept.move_to_end(session)
            return self._kept.get(session)

    def put(self, session: UUID, kept: _Kept) -> _Kept:
        """Keep it, and drop what has been asked about longest ago until the limit is kept."""
        with self._lock:
            self._drop(session)
            self._kept[session] = kept
            self.octets += kept.index.octets
            while self.octets > self.limit:
                self._drop(next(iter(self._kept)))
        return kept

    def _drop(self, session: UUID) -> None:
        dropped = self._kept.pop(session, None)
        self.octets -= dropped.index.octets if dropped else 0


shelf = Shelf(MAX_KEPT)


def sources(session: Session) -> tuple[provenance.Source, ...]:
    """Every text of the session, in the order in which it was said, to match arguments against.

    Raises Refused("limit") where that would be more than a call can wait for.
    """
    _standing(session)
    return tuple(map(_source, _of(session)))


def index(session: Session) -> provenance.Index:
    """The same, ready for look-ups; what this process has prepared of it before is not prepared again.

    Raises Refused("limit") as `sources` does.
    """
    standing = _standing(session)
    kept = shelf.get(session.pk)
    if kept is None or kept.rows != standing:
        kept = _caught_up(session, standing, kept) or _afresh(session)
    return kept.index


def _caught_up(session: Session, standing: _Rows, kept: _Kept | None) -> _Kept | None:
    """What was kept, with the rows that came since; None if there are others besides, or some are gone."""
    if kept is None:
        return None
    more = list(_of(session).filter(id__gt=kept.rows.last, id__lte=standing.last))
    if kept.rows.and_then(more) != standing:
        return None
    return shelf.put(session.pk, _Kept(standing, kept.index.extended(map(_source, more))))


def _afresh(session: Session) -> _Kept:
    rows = list(_of(session))
    return shelf.put(session.pk, _Kept(_Rows().and_then(rows), provenance.Index(map(_source, rows))))


def _standing(session: Session) -> _Rows:
    found = Source.objects.filter(session=session).aggregate(
        count=Count("id"), last=Max("id"), stamps=_Xor("stamp"), weight=Sum("weight")
    )
    if (found["weight"] or 0) > MAX_HEARD:
        raise Refused(
            "limit", "This session has heard more than can be looked through: open another.", retry_after=60
        )
    return _Rows(found["count"], found["last"] or 0, found["stamps"] or 0)


def _of(session: Session) -> QuerySet[Source, Source]:
    return Source.objects.filter(session=session).order_by("id")


def _source(row: Source) -> provenance.Source:
    return provenance.Source(
        entry_id=str(row.entry), origin=row.origin, text=row.text, kind=row.kind, who=row.who,
        quoted=tuple((start, end) for start, end in row.quoted), fields=records.fields(row.fields),
        call=Call.from_json(row.call),
    )  # fmt: skip
