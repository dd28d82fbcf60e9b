"""Tiles: the tree in pieces of up to 256 hashes, which can be cached for ever. Bytes in, bytes out.

Source: C2SP tlog-tiles. The tile (L, N) lists the roots of complete subtrees of 256^L leaves, from the
256·N-th on; levels between are computed. A tile only grows, so a narrower one is a prefix of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from traces import merkle

WIDTH = 256
HASH = 32
_PATH = re.compile(
    r"(?P<level>0|[1-5]?[0-9]|6[0-3])/(?P<index>(?:x\d{3}/)*\d{3})(?:\.p/(?P<width>[1-9]\d{0,2}))?"
)


@dataclass(frozen=True, order=True)
class Place:
    """Which tile."""

    level: int
    index: int


Tiles = Mapping[Place, bytes]


def place_of(level: int, index: int) -> Place:
    """The tile that holds, or computes, the node (level, index) of the tree."""
    tile_level, inner = divmod(level, 8)
    return Place(tile_level, index << inner >> 8)


def node(tiles: Tiles, level: int, index: int) -> bytes:
    """The node's hash, from its tile. Raises KeyError where the tile is missing or too narrow."""
    place, inner = place_of(level, index), level % 8
    first = (index << inner) % WIDTH
    data = tiles[place][first * HASH : (first + (1 << inner)) * HASH]
    if len(data) != HASH << inner:
        raise KeyError(place)
    return merkle.root_of(hashes(data))


def hashes(data: bytes) -> list[bytes]:
    """A tile's bytes → its hashes."""
    return [data[i : i + HASH] for i in range(0, len(data), HASH)]


def edge(size: int) -> list[Place]:
    """The incomplete tiles of a tree of `size` leaves: all that is needed to go on, and for its root."""
    places, level = [], 0
    while size:
        if size % WIDTH:
            places.append(Place(level, size // WIDTH))
        size, level = size // WIDTH, level + 1
    return places


def grow(*, size: int, tiles: Tiles, leaves: Sequence[bytes]) -> dict[Place, bytes]:
    """Append leaf hashes to a tree of `size`, whose edge is given; the tiles that are new or wider."""
    changed: dict[Place, bytes] = {}
    fresh, level = list(leaves), 0
    while fresh:
        index, used = divmod(size, WIDTH)
        data = (tiles[Place(level, index)][: used * HASH] if used else b"") + b"".join(fresh)
        pieces = [data[i : i + WIDTH * HASH] for i in range(0, len(data), WIDTH * HASH)]
        changed.update({Place(level, index + i): piece for i, piece in enumerate(pieces)})
        fresh = [merkle.root_of(hashes(piece)) for piece in pieces if len(piece) == WIDTH * HASH]
        size, level = size // WIDTH, level + 1
    return changed


def root(*, size: int, tiles: Tiles) -> bytes:
    """The root of the first `size` leaves. Raises KeyError where a tile is missing."""
    return merkle.root(size=size, node=lambda level, index: node(tiles, level, index))


def path(place: Place, width: int = WIDTH) -> str:
    """The path below `tile/` that names a tile: `0/x001/x234/067`, with `.p/W` where it is narrower."""
    digits = f"{place.index:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    name = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    return f"{place.level}/{name}" + (f".p/{width}" if width < WIDTH else "")


def parse(text: str) -> tuple[Place, int]:
    """The inverse of `path`. Raises ValueError for any other spelling."""
    match = _PATH.fullmatch(text)
    if match is None:
        raise ValueError("not the path of a tile")
    place = Place(int(match["level"]), int(match["index"].replace("/", "").replace("x", "")))
    width = int(match["width"] or WIDTH)
    if path(place, width) != text:
        raise ValueError("not the path of a tile")
    return place, width


def needed(places: Iterable[tuple[int, int]]) -> set[Place]:
    """The tiles that hold these nodes."""
    return {place_of(level, index) for level, index in places}
