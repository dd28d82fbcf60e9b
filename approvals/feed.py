"""The feed of changes behind the live inbox: what changed since a cursor, told or not.

Transactions commit in another order than they begin, so neither a time nor a number drawn on the way says
what a reader has seen. The oldest transaction that still runs does: at the moment of a cursor everything
below it had ended, and whatever ends later is not below it (PostgreSQL, "Transaction ID and Snapshot
Information Functions").
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection
from django.db.models import BigIntegerField, Func, Max, OuterRef, Subquery, Value
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce

from approvals.live_models import Change
from approvals.models import Action, ActionQuerySet

KEPT = timedelta(hours=24)
OLDEST_SECONDS = 12 * 3600.0  # of a cursor that is answered; well within what is kept
MOST = 200  # changes that are told one by one; beyond it a page reads its list again
_CURSOR = re.compile(r"([0-9]{1,18})-([0-9]{1,12})")


@dataclass(frozen=True)
class Cursor:
    """Everything by transactions below `xid` is known; read at `at`, in seconds of Unix time."""

    xid: int
    at: int

    def __str__(self) -> str:
        return f"{self.xid}-{self.at}"

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """What a page sends back; None for anything that no page was ever given."""
        found = _CURSOR.fullmatch(text)
        return cls(int(found[1]), int(found[2])) if found else None


class _Xid(Func):
    """The number of the current transaction, which subtransactions share."""

    template = "pg_current_xact_id()::text::bigint"
    output_field = BigIntegerField()


@dataclass(frozen=True)
class News:
    """What changed, as of `cursor`: by action the number of its last change; None where it is too much."""

    cursor: Cursor
    changed: Mapping[UUID, int] | None


def note(action: Action) -> None:
    """Remember that pages must hear of this action. Belongs into the transaction that changes it."""
    Change.objects.create(action_id=action.pk, xid=_Xid())


def cursor() -> Cursor:
    """Where a reader stands who reads after this."""
    with connection.cursor() as sql:
        sql.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        return Cursor(int(sql.fetchone()[0]), int(time.time()))


def since(given: Cursor) -> News:
    """What changed since then; too much also if it was too long ago.

    A cursor from the future is one of another database, and as good as none.
    """
    now = cursor()
    if given.xid > now.xid or not now.at - OLDEST_SECONDS <= given.at <= now.at + 60:
        return News(now, None)
    rows = Change.objects.filter(xid__gte=given.xid).values("action_id").annotate(last=Max("id"))
    found = dict(rows.order_by().values_list("action_id", "last")[: MOST + 1])
    return News(now, found if len(found) <= MOST else None)


def versioned(rows: ActionQuerySet) -> ActionQuerySet:
    """With `version`, the number of the last change, read in the same statement as the row itself; and with
    `written`, PostgreSQL's own name of this state of the row: who wrote it last, and where it lies.

    Another transaction is another xmin, and another write of the same one lies elsewhere.
    """
    changes = Change.objects.filter(action_id=OuterRef("pk")).order_by("-id").values("id")[:1]
    numbered = Coalesce(Subquery(changes), Value(0), output_field=BigIntegerField())
    own = RawSQL('"approvals_action"."xmin"::text || "approvals_action"."ctid"::text', [])
    return rows.annotate(version=numbered, written=own)


def forget(now: datetime) -> int:
    """Let go what nobody can ask for any more."""
    old = Change.objects.filter(at__lt=now - KEPT).order_by("at").values("pk")[:5000]
    return Change.objects.filter(pk__in=old).delete()[0] if old.exists() else 0
