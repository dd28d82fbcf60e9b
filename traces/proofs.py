"""Proofs from the database: is an entry under a checkpoint, and how can anyone check it?"""

from __future__ import annotations

import functools
import operator
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from django.db.models import F, Q

from traces import merkle, problems, tiles
from traces.models import Checkpoint, Entry, Leaf, Tile

POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Proof:
    """Where an entry stands: `index` in the tree of `size` leaves of the newest checkpoint, if included."""

    index: int | None
    size: int
    included: bool

    def __bool__(self) -> bool:
        return self.included


@dataclass(frozen=True)
class Inclusion:
    """An entry's index, its audit path, and the signed checkpoint that the path leads to."""

    index: int
    hashes: list[bytes]
    checkpoint: str
    size: int


def status(entry: Entry) -> Proof:
    """Whether a checkpoint covers the entry as it was appended."""
    newest = Checkpoint.objects.newest()
    size = newest.size if newest else 0
    leaf = Leaf.objects.filter(entry=entry, hash=bytes(entry.leaf_hash), index__lt=size).first()
    return Proof(index=leaf.index if leaf else None, size=size, included=leaf is not None)


def is_covered(entry_ids: Iterable[int]) -> bool:
    """Whether all of these entries exist and stand under the newest checkpoint."""
    wanted = set(entry_ids)
    newest = Checkpoint.objects.newest()
    if newest is None:
        return not wanted
    covered = Leaf.objects.filter(entry_id__in=wanted, index__lt=newest.size, hash=F("entry__leaf_hash"))
    return covered.count() == len(wanted)


def wait_covered(entry_ids: Iterable[int], *, timeout: float) -> None:
    """Return once a checkpoint covers a leaf for each entry. Raises Unavailable after `timeout` seconds."""
    wanted, end = set(entry_ids), time.monotonic() + timeout
    while not _placed(wanted):
        if time.monotonic() > end:
            raise problems.Unavailable("The log has not taken these entries in: is the sequencer running?")
        time.sleep(POLL_SECONDS)


def _placed(wanted: set[int]) -> bool:
    newest = Checkpoint.objects.newest()
    size = newest.size if newest else 0
    return Leaf.objects.filter(entry_id__in=wanted, index__lt=size).count() == len(wanted)


def inclusion(entry_id: int, *, checkpoint: Checkpoint | None = None) -> Inclusion:
    """The proof that an entry stands in the log of this checkpoint (default: the newest).
    Raises NotFound for an entry that it does not cover.
    """
    checkpoint = checkpoint or Checkpoint.objects.newest()
    leaf = Leaf.objects.filter(entry_id=entry_id).first()
    if leaf is None or checkpoint is None or leaf.index >= checkpoint.size:
        raise problems.NotFound("No checkpoint covers this entry yet.")
    index, size = leaf.index, checkpoint.size
    hashes = _with_tiles(lambda node: merkle.inclusion(index=index, size=size, node=node))
    return Inclusion(index=index, hashes=hashes, checkpoint=checkpoint.note, size=size)


def consistency(*, old: int, new: int) -> list[bytes]:
    """The proof that the log of size `old` begins the log of size `new`. Raises Invalid, NotFound."""
    newest = Checkpoint.objects.newest()
    if not 0 < old <= new:
        raise problems.Invalid(f"No log of size {old} begins one of size {new}.")
    if newest is None or new > newest.size:
        raise problems.NotFound(f"The log has no {new} entries.")
    return _with_tiles(lambda node: merkle.consistency(old=old, new=new, node=node))


def _with_tiles(prove: Callable[[merkle.Node], list[bytes]]) -> list[bytes]:
    """Run a proof twice: once to see which nodes it needs, once with them, so that one query fetches all."""
    asked: list[tuple[int, int]] = []

    def note(level: int, index: int) -> bytes:
        asked.append((level, index))
        return b""

    prove(note)
    found = _load(sorted(tiles.needed(asked)))
    try:
        return prove(lambda level, index: tiles.node(found, level, index))
    except KeyError as missing:
        raise problems.Unavailable(f"The log lacks a tile ({missing}): run `manage.py verify`.") from missing


def _load(places: Sequence[tiles.Place]) -> tiles.Tiles:
    if not places:
        return {}
    chosen = functools.reduce(operator.or_, (Q(level=place.level, index=place.index) for place in places))
    return {tiles.Place(row.level, row.index): bytes(row.data) for row in Tile.objects.filter(chosen)}
