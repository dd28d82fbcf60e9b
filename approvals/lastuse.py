"""When each rule last spoke and each tool was last called: gathered from new actions, off the hot path."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from approvals.growth_models import Chore, LastUse
from approvals.models import Action
from policies.models import Rule, Tool

CHORE = "last-use"
CHUNK = 1000
# Actions are stored in transactions that end in another order than they began in.
LAG = timedelta(minutes=1)
Uses = dict[tuple[str, str], datetime]
_UPSERT = """
INSERT INTO approvals_lastuse AS known (kind, name, at, since) SELECT kind, name, at, %s
FROM unnest(%s::text[], %s::text[], %s::timestamptz[]) AS new (kind, name, at)
ON CONFLICT (kind, name) DO UPDATE SET at = GREATEST(known.at, EXCLUDED.at)
"""


def gather() -> int:
    """Take in the next actions that nobody has counted yet; how many they were, CHUNK at most.

    Locks the chore's row, so that two clocks never do it twice. Begins to watch rules and tools that are new.
    """
    now = timezone.now()
    with transaction.atomic():
        Chore.objects.get_or_create(name=CHORE)
        chore = Chore.objects.select_for_update().get(name=CHORE)
        rows = list(_next(chore.place, until=now - LAG))
        if rows:
            _, at, last, _ = rows[-1]
            chore.place = {"at": at.isoformat(), "id": str(last)}
        chore.done_at = now
        chore.save(update_fields=["place", "done_at"])
        _note(_uses(rows), now)
    return len(rows)


def known() -> dict[tuple[str, str], LastUse]:
    """Every rule and tool that is watched, by kind and name."""
    return {(use.kind, use.name): use for use in LastUse.objects.all()}


def _next(place: dict[str, Any], *, until: datetime) -> Iterable[tuple[str, datetime, UUID, str]]:
    rows = Action.objects.filter(created_at__lte=until).order_by("created_at", "id")
    if place:
        at, key = datetime.fromisoformat(place["at"]), UUID(place["id"])
        # The plain bound lets the index start there; the disjunction alone would be read as a filter.
        rows = rows.filter(created_at__gte=at).filter(Q(created_at__gt=at) | Q(id__gt=key))
    return rows.values_list("tool", "created_at", "id", "verdict_json")[:CHUNK]


def _uses(rows: Iterable[tuple[str, datetime, UUID, str]]) -> Uses:
    """The latest use of each tool and rule; later rows come later."""
    found: Uses = {}
    for tool, at, _, text in rows:
        verdict = json.loads(text)
        found["tool", tool] = at
        found |= {("rule", match["name"]): at for match in (*verdict["matched"], *verdict["shadow"])}
    return found


def _note(uses: Uses, now: datetime) -> None:
    """Write down the uses of what stands in the draft, and begin to watch what is new there."""
    names = {("rule", name) for name in Rule.objects.values_list("name", flat=True)}
    # Of the names that agents make up nothing is kept.
    names |= {("tool", name) for name in Tool.objects.values_list("name", flat=True)}
    fresh = names - set(LastUse.objects.values_list("kind", "name"))
    # In one order everywhere, so that two who write do not wait for each other.
    items = [(*key, uses.get(key)) for key in sorted(fresh | (names & uses.keys()))]
    if items:
        with connection.cursor() as cursor:
            cursor.execute(_UPSERT, [now, *map(list, zip(*items, strict=True))])
