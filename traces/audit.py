"""Verify the log in the database: every entry against the tree, the tree against what was signed.

In one snapshot and one pass. A superuser can switch triggers off and rewrite rows; what they cannot do is
sign, or change what an earlier `verify` remembers and what witnesses and evidence bundles hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from traces import merkle, tiles
from traces.checkpoint import VerifierKey, open_checkpoint
from traces.verify import Finding, Invalid, leaf_hash, parse_header

FETCH = 512
MAX_FINDINGS = 1_000

ROWS = """
SELECT l.index, l.entry_id, l.hash, e.id, e.uuid, e.session_id, e.seq, e.kind, e.action_id, e.actor, e.at,
       e.header, e.sealed, e.leaf_hash, e.subject_key_id, o.entry_id IS NOT NULL AS waiting
FROM traces_leaf l FULL JOIN traces_entry e ON e.id = l.entry_id
     LEFT JOIN traces_outbox o ON o.entry_id = e.id
ORDER BY l.index NULLS LAST, e.id
"""


class Row(NamedTuple):
    """A leaf and its entry; either may be missing."""

    place: int | None
    leaf_entry: int | None
    hash: bytes | None
    id: int | None
    uuid: UUID | None
    session: UUID | None
    seq: int | None
    kind: str
    action: str | None
    actor: str
    at: datetime
    header: bytes
    sealed: bytes
    leaf_hash: bytes
    key: UUID
    waiting: bool

    @property
    def name(self) -> str:
        return str(self.uuid) if self.uuid else f"#{self.leaf_entry}"


@dataclass
class Chain:
    """The end of a session as far as it was read."""

    seq: int = 0
    head: bytes = b""
    entry: str = ""


@dataclass
class Audit:
    """What was found wrong, and the state of the tree that was read: `size` leaves under `root`."""

    findings: list[Finding] = field(default_factory=list)
    size: int = 0
    root: bytes = merkle.EMPTY_ROOT
    waiting: int = 0
    edge: dict[tiles.Place, bytes] = field(default_factory=dict)
    chains: dict[UUID, Chain] = field(default_factory=dict)
    forked: bool = False
    suspects: list[str] = field(default_factory=list)  # since the last root that was as it should be

    def add(self, kind: str, entry: str, why: str) -> None:
        finding = Finding(kind, entry, why)
        if len(self.findings) < MAX_FINDINGS and finding not in self.findings:
            self.findings.append(finding)


def verify_database(
    connection: psycopg.Connection[Any], *, key: VerifierKey, seen: Mapping[int, bytes] | None = None
) -> Audit:
    """Verify everything that the database holds of the log.

    In: a connection that may read it, the pinned public key, and the checkpoints (size → root) that were
    seen before. Out: findings, each naming the entry it hit where one can be named; none if all is well.
    """
    audit = Audit()
    fresh = connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    with connection.transaction():
        if fresh:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        signed = _checkpoints(audit, connection, key)
        expected = _expected(signed, seen or {})
        with connection.cursor(name="traces_audit") as cursor:
            cursor.execute(ROWS)
            rows = map(Row._make, cursor)
            while batch := list(islice(rows, FETCH)):
                _batch(audit, connection, batch, expected)
        _ends(audit, signed, seen or {})
        _sessions(audit, connection)
    return audit


def _checkpoints(audit: Audit, connection: psycopg.Connection[Any], key: VerifierKey) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for size, root, note in connection.execute(
        "SELECT size, root, note FROM traces_checkpoint ORDER BY size"
    ):
        try:
            opened = open_checkpoint(note, key)
        except Invalid as error:
            audit.add("unsigned", "", f"the checkpoint of size {size}: {error}")
            continue
        if (opened.size, opened.root) != (size, root):
            audit.add("edited", "", f"the checkpoint of size {size} contradicts its signed note")
        found[opened.size] = opened.root
    return found


def _expected(signed: Mapping[int, bytes], seen: Mapping[int, bytes]) -> dict[int, list[tuple[bytes, str]]]:
    """Size → the roots that the tree must have there, and who says so."""
    expected: dict[int, list[tuple[bytes, str]]] = {}
    for roots, source in ((signed, "signed"), (seen, "seen before")):
        for size, root in roots.items():
            expected.setdefault(size, []).append((root, source))
    return expected


def _batch(
    audit: Audit,
    connection: psycopg.Connection[Any],
    batch: Sequence[Row],
    expected: Mapping[int, Sequence[tuple[bytes, str]]],
) -> None:
    for row in batch:
        if row.id is None:
            audit.add("deleted", row.name, f"the leaf {row.place} has no entry any more")
        else:
            _bytes(audit, row)
            _chain(audit, row)
    leaves = [row for row in batch if row.place is not None]
    for position, row in enumerate(leaves, audit.size):
        if row.place != position and not audit.forked:
            audit.add("deleted", row.name, f"before it, leaf {position} is missing")
            audit.forked = True
    if leaves and not audit.forked:
        _tree(audit, connection, leaves, expected)


def _bytes(audit: Audit, row: Row) -> None:
    """The entry's bytes are those of its leaf, and its columns say what its header says."""
    computed = leaf_hash(row.header, row.sealed)
    if row.place is None:
        audit.waiting += row.waiting
        if not row.waiting:
            audit.add("inserted", row.name, "it is neither in the tree nor on its way there")
    elif row.waiting:
        audit.add("inserted", row.name, "it is in the tree and waits to be taken in again")
    if computed != row.leaf_hash or (row.hash is not None and computed != row.hash):
        audit.add("edited", row.name, f"its bytes are not those that were logged{_place(row)}")
        return
    try:
        meta = parse_header(row.header)
    except (ValueError, RecursionError) as error:
        audit.add("edited", row.name, str(error))
        return
    differing = sorted(name for name, value in _columns(row).items() if meta[name] != value)
    if differing:
        audit.add("edited", row.name, f"its columns differ from its header: {', '.join(differing)}")


def _place(row: Row) -> str:
    return "" if row.place is None else f" (leaf {row.place})"


def _columns(row: Row) -> dict[str, Any]:
    return {
        "id": str(row.uuid),
        "kind": row.kind,
        "at": row.at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "session": str(row.session) if row.session else None,
        "seq": row.seq,
        "actor": row.actor,
        "action": row.action,
        "key": str(row.key),
    }


def _chain(audit: Audit, row: Row) -> None:
    """In its session it follows the entry before it."""
    if row.session is None or row.seq is None:
        return
    chain = audit.chains.setdefault(row.session, Chain())
    if row.seq <= chain.seq:
        audit.add(
            "reordered", row.name, f"number {row.seq} of session {row.session} stands after {chain.seq}"
        )
        return
    if row.seq > chain.seq + 1:
        missing = ", ".join(str(number) for number in range(chain.seq + 1, min(row.seq, chain.seq + 11)))
        audit.add("deleted", row.name, f"before it, number {missing} of session {row.session} is missing")
    elif _prev(row) != chain.head.hex():
        audit.add("edited", chain.entry or row.name, f"the entry after it, {row.name}, names another hash")
    chain.seq, chain.head, chain.entry = row.seq, row.leaf_hash, row.name


def _prev(row: Row) -> Any:
    try:
        return json.loads(row.header)["prev"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _tree(
    audit: Audit,
    connection: psycopg.Connection[Any],
    leaves: Sequence[Row],
    expected: Mapping[int, Sequence[tuple[bytes, str]]],
) -> None:
    """Grow the tree by these leaves; compare its tiles, and its root wherever one is known."""
    start = audit.size
    grown = tiles.grow(size=start, tiles=audit.edge, leaves=[row.hash or b"" for row in leaves])
    here = {**audit.edge, **grown}
    _compare_tiles(audit, _stored(connection, grown), grown, start, leaves)
    for size, row in enumerate(leaves, start + 1):
        audit.suspects.append(row.name)
        if size in expected and not audit.forked:
            _compare_root(audit, size, tiles.root(size=size, tiles=here), expected[size])
    audit.size = start + len(leaves)
    audit.edge = {place: here[place] for place in tiles.edge(audit.size)}
    audit.root = tiles.root(size=audit.size, tiles=here)


def _compare_root(audit: Audit, size: int, root: bytes, known: Sequence[tuple[bytes, str]]) -> None:
    """A wrong root says that something changed since the root before; entries already named say it better."""
    for expected, source in known:
        if root != expected and not audit.forked:
            audit.forked = True
            first, last = audit.suspects[0], audit.suspects[-1]
            if not {finding.entry for finding in audit.findings} & set(audit.suspects):
                between = "" if first == last else f"; the change lies between {first} and it"
                audit.add("forked", last, f"the tree of {size} entries is not the one {source}{between}")
    audit.suspects.clear()


def _stored(connection: psycopg.Connection[Any], places: Iterable[tiles.Place]) -> dict[tiles.Place, bytes]:
    wanted = list(places)
    rows = connection.execute(
        "SELECT level, index, data FROM traces_tile "
        "JOIN unnest(%s::smallint[], %s::bigint[]) AS at (level, index) USING (level, index)",
        [[place.level for place in wanted], [place.index for place in wanted]],
    )
    return {tiles.Place(level, index): data for level, index, data in rows}


def _compare_tiles(
    audit: Audit, stored: tiles.Tiles, grown: tiles.Tiles, start: int, leaves: Sequence[Row]
) -> None:
    for place, data in grown.items():
        kept = stored.get(place, b"")
        if kept.startswith(data):
            continue
        suspects = list(_suspects(place, data, kept, start, leaves))
        for row in suspects:
            audit.add(
                "edited", row.name, f"the tile {tiles.path(place)} holds another hash for it{_place(row)}"
            )
        if not suspects:
            audit.add("edited", "", f"the tile {tiles.path(place)} is not that of the entries below it")


def _suspects(
    place: tiles.Place, data: bytes, kept: bytes, start: int, leaves: Sequence[Row]
) -> Iterator[Row]:
    if place.level:
        return
    for offset, (ours, theirs) in enumerate(zip(tiles.hashes(data), tiles.hashes(kept), strict=False)):
        position = place.index * tiles.WIDTH + offset - start
        if ours != theirs and 0 <= position < len(leaves):
            yield leaves[position]


def _ends(audit: Audit, signed: Mapping[int, bytes], seen: Mapping[int, bytes]) -> None:
    if audit.forked:
        return
    newest = max(signed, default=0)
    if audit.size > newest:
        audit.add("inserted", "", f"{audit.size - newest} leaves stand under no checkpoint")
    for known, source in ((newest, "signed"), (max(seen, default=0), "seen before")):
        if audit.size < known:
            audit.add("truncated", "", f"the log has {audit.size} leaves, {known} were {source}")


def _sessions(audit: Audit, connection: psycopg.Connection[Any]) -> None:
    """Each session ends where it says that it ends."""
    for session, seq, head in connection.execute("SELECT id, seq, head FROM traces_session ORDER BY id"):
        chain = audit.chains.pop(session, Chain())
        if chain.seq < seq:
            audit.add("truncated", chain.entry, f"numbers after {chain.seq} of session {session} are missing")
        elif (chain.seq, chain.head) != (seq, head):
            audit.add("edited", chain.entry, f"session {session} does not end in it")
    for session, chain in audit.chains.items():
        audit.add("deleted", chain.entry, f"its session {session} is gone")
