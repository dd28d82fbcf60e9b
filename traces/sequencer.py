"""The leader that takes entries from the outbox into the tree and signs what it has become.

Any number of sequencers may run; an advisory lock makes one of them the leader. It alone reads the signing
key. Leaves, tiles and the checkpoint of a batch stand in one transaction, so a crash leaves all or nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import psycopg

from traces import checkpoint, keys, live, merkle, tiles
from traces.checkpoint import Signer, VerifierKey, open_checkpoint
from traces.verify import Invalid

BATCH = 8_192
INTERVAL = 0.1
MAX_PAUSE = 5.0
LEADER = 0x6167656E7473  # any constant: the advisory lock of the log's leader

log = logging.getLogger(__name__)


class Damaged(Exception):
    """The stored tree is not the one that was signed; going on would sign somebody's forgery."""


def run(stop: threading.Event, dsn: str) -> None:
    """Lead, or wait to lead, until `stop` is set. Survives restarts of the database.

    In: the address of the database for the sequencer's role. Raises ImproperlyConfigured without a key.
    """
    signer, pause = keys.signer(), INTERVAL
    while not stop.is_set():
        began = time.monotonic()
        try:
            with psycopg.connect(
                dsn, autocommit=True, connect_timeout=5, application_name="agentsec sequencer"
            ) as db:
                _wait_for_leadership(db, stop)
                _lead(db, stop, signer)
        except (psycopg.Error, Damaged) as error:
            pause = min(pause * 2, MAX_PAUSE) if time.monotonic() - began < MAX_PAUSE else INTERVAL
            log.error("sequencer goes on in %.1f s: %s", pause, str(error).strip())
            stop.wait(pause)


def integrate_once(db: psycopg.Connection, *, signer: Signer | None = None) -> int:
    """Take one batch into the tree; how many entries. 0 where there are none, or where another one leads.

    In: a connection of the sequencer's role. Raises Damaged, and then changes nothing.
    """
    signer = signer or keys.signer()
    with db.transaction():
        if not _value(db, "SELECT pg_try_advisory_xact_lock(%s)", [LEADER]):
            return 0
        rows = _take(db)
        if not rows:
            return 0
        size = _extend(db, rows, signer)
    live.announce(["traces", "checkpoint"], {"type": "checkpoint", "size": size})
    return len(rows)


def _wait_for_leadership(db: psycopg.Connection, stop: threading.Event) -> None:
    while not stop.is_set() and not _value(db, "SELECT pg_try_advisory_lock(%s)", [LEADER]):
        stop.wait(1.0)


def _lead(db: psycopg.Connection, stop: threading.Event, signer: Signer) -> None:
    log.info("sequencer leads the log %s", signer.name)
    while not stop.is_set():
        began = time.monotonic()
        taken = integrate_once(db, signer=signer) if _value(db, "SELECT EXISTS (TABLE traces_outbox)") else 0
        if taken < BATCH:
            stop.wait(max(0.0, began + INTERVAL - time.monotonic()))


def _take(db: psycopg.Connection) -> Sequence[tuple[int, bytes]]:
    """Entries in the order of their ids, which within a session is the order of its chain: a session's next
    entry gets its id only after the transaction of the one before has ended.
    """
    return db.execute(
        "WITH taken AS (DELETE FROM traces_outbox WHERE entry_id IN "
        "(SELECT entry_id FROM traces_outbox ORDER BY entry_id LIMIT %s) RETURNING entry_id) "
        # The app may insert into the outbox; an entry that it names twice must not stop the log.
        "SELECT id, leaf_hash FROM traces_entry JOIN taken ON id = entry_id "
        "WHERE NOT EXISTS (SELECT FROM traces_leaf l WHERE l.entry_id = id) ORDER BY id",
        [BATCH],
    ).fetchall()


def _extend(db: psycopg.Connection, rows: Sequence[tuple[int, bytes]], signer: Signer) -> int:
    size = _signed_size(db, signer)
    edge = _edge(db, size)
    grown = tiles.grow(size=size, tiles=edge, leaves=[leaf for _entry, leaf in rows])
    total = size + len(rows)
    root = tiles.root(size=total, tiles={**edge, **grown})
    _write_leaves(db, size, rows)
    _write_tiles(db, grown)
    note = checkpoint.sign(size=total, root=root, signer=signer)
    db.execute(
        "INSERT INTO traces_checkpoint (size, root, note, at) VALUES (%s, %s, %s, %s)",
        [total, root, note, datetime.now(UTC)],
    )
    return total


def _signed_size(db: psycopg.Connection, signer: Signer) -> int:
    """The size of the tree to go on from, once its checkpoint, leaves and tiles agree."""
    row = db.execute("SELECT size, root, note FROM traces_checkpoint ORDER BY size DESC LIMIT 1").fetchone()
    size, root = (row[0], row[1]) if row else (0, merkle.EMPTY_ROOT)
    leaves = _value(db, "SELECT coalesce(max(index) + 1, 0) FROM traces_leaf")
    if leaves != size:
        raise Damaged(f"the log has {leaves} leaves under a checkpoint of {size}: run `manage.py verify`")
    if row:
        _check_checkpoint(row, signer)
    try:
        computed = tiles.root(size=size, tiles=_edge(db, size))
    except KeyError as place:
        raise Damaged(f"the log lacks the tile {place}: run `manage.py verify`") from None
    if computed != root:
        raise Damaged(f"the tiles are not those of the checkpoint of size {size}: run `manage.py verify`")
    return size


def _check_checkpoint(row: Sequence[object], signer: Signer) -> None:
    size, root, note = row
    try:
        signed = open_checkpoint(str(note), VerifierKey(name=signer.name, public=signer.public))
    except Invalid as error:
        raise Damaged(
            f"the checkpoint of size {size} is not ours ({error}): run `manage.py verify`"
        ) from None
    if (signed.size, signed.root) != (size, root):
        raise Damaged(f"the checkpoint of size {size} contradicts its note: run `manage.py verify`")


def _edge(db: psycopg.Connection, size: int) -> Mapping[tiles.Place, bytes]:
    places = tiles.edge(size)
    rows = db.execute(
        "SELECT level, index, data FROM traces_tile "
        "JOIN unnest(%s::smallint[], %s::bigint[]) AS at (level, index) USING (level, index)",
        [[place.level for place in places], [place.index for place in places]],
    )
    return {tiles.Place(level, index): data for level, index, data in rows}


def _write_leaves(db: psycopg.Connection, size: int, rows: Sequence[tuple[int, bytes]]) -> None:
    db.execute(
        "INSERT INTO traces_leaf (index, entry_id, hash) "
        "SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bytea[])",
        [
            list(range(size, size + len(rows))),
            [entry for entry, _leaf in rows],
            [leaf for _entry, leaf in rows],
        ],
    )


def _write_tiles(db: psycopg.Connection, grown: Mapping[tiles.Place, bytes]) -> None:
    for place, data in grown.items():
        db.execute(
            "INSERT INTO traces_tile (level, index, width, data) VALUES (%s, %s, %s, %s) "
            "ON CONFLICT (level, index) DO UPDATE SET width = excluded.width, data = excluded.data",
            [place.level, place.index, len(data) // tiles.HASH, data],
        )


def _value(db: psycopg.Connection, query: str, parameters: Sequence[object] = ()) -> object:
    row = db.execute(query.encode(), parameters).fetchone()
    return row[0] if row else None
