"""Ten thousand actions that wait, as proposing them would have left them: one real call, then copied."""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path

import psycopg
from django.db import connection
from django.utils import timezone

from approvals.models import Action

BATCH = 1000


def write(count: int, *, like: Action, groups: list[str]) -> None:
    """So many more actions like this one, each with a deadline of its own; each group is asked by its share.

    Every tenth asks two groups. The first is due in half an hour.
    """
    now = timezone.now()
    made = []
    for number in range(count):
        asked = [groups[number % len(groups)]]
        asked += [groups[(number + 1) % len(groups)]] if number % 10 == 0 else []
        copy = Action(**{field.attname: getattr(like, field.attname) for field in Action._meta.fields})
        copy.pk, copy.groups, copy.target = uuid.uuid4(), asked, f"Supplier {number}"
        copy.summary = f"Order paper for {number} from Supplier {number}"
        copy.created_at = copy.changed_at = now - timedelta(seconds=count - number)
        copy.deadline = now + timedelta(minutes=30, seconds=number // 4, milliseconds=number % 4 * 250)
        made.append(copy)
    Action.objects.bulk_create(made, batch_size=BATCH)


def tidy(home: Path) -> None:
    """What autovacuum does within its minute after so many new rows, done now: statistics and visibility.

    An instance without fsync commits asynchronously, and nothing is marked visible whose commit is not yet in
    the log's file: a checkpoint brings it there. Raises SystemExit where it was no help.
    """
    place = connection.get_connection_params()
    with psycopg.connect(
        host=place["host"], port=place["port"], dbname=place["dbname"], user="postgres", autocommit=True,
        password=next(home.rglob("postgres.password")).read_text().strip(),
    ) as superuser:  # fmt: skip
        superuser.execute("CHECKPOINT")
        superuser.execute("VACUUM ANALYZE approvals_action")
        seen = "SELECT relallvisible = relpages FROM pg_class WHERE relname = 'approvals_action'"
        if superuser.execute(seen).fetchone() != (True,):
            raise SystemExit("VACUUM did not mark every page as visible")
