"""The Merkle tree of the log: roots and proofs from the hashes of complete subtrees. Bytes in, bytes out.

Source: RFC 6962 §2.1. A node (level, index) is the root of the 2^level leaves from index·2^level on; it is
asked for only when all of its leaves exist, so that it never changes. The verifying half is `traces.verify`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from traces.verify import leaf_hash, node_hash, split, verify_consistency, verify_inclusion

__all__ = ["EMPTY_ROOT", "consistency", "inclusion", "leaf_data", "leaf_hash", "node_hash", "root", "root_of",
           "verify_consistency", "verify_inclusion"]  # fmt: skip

EMPTY_ROOT = hashlib.sha256(b"").digest()
Node = Callable[[int, int], bytes]


def leaf_data(header: bytes, sealed: bytes) -> bytes:
    """What the tree commits to for one entry; the entry of a C2SP entry bundle."""
    return header + hashlib.sha256(sealed).digest()


def root(*, size: int, node: Node) -> bytes:
    """The root of the first `size` leaves."""
    return _range(0, size, node) if size else EMPTY_ROOT


def inclusion(*, index: int, size: int, node: Node) -> list[bytes]:
    """The audit path of the leaf at `index` in the tree of `size` leaves (§2.1.1). Raises ValueError."""
    if not 0 <= index < size:
        raise ValueError(f"index {index} is outside a tree of {size}")
    return _path(index, 0, size, node)


def consistency(*, old: int, new: int, node: Node) -> list[bytes]:
    """The proof that the tree of `old` leaves begins the tree of `new` (§2.1.2). Raises ValueError."""
    if not 0 < old <= new:
        raise ValueError(f"no tree of {old} begins one of {new}")
    return [] if old == new else _subproof(old, 0, new, node, known=True)


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root of a tree that is given by all its leaf hashes."""
    level = list(hashes)
    if not level:
        return EMPTY_ROOT
    while len(level) > 1:
        paired = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        # RFC 6962 splits at the largest power of two, which is the same as carrying an odd one upwards.
        level = paired + level[len(level) & ~1 :]
    return level[0]


def _range(start: int, end: int, node: Node) -> bytes:
    count = end - start
    if count & (count - 1) == 0:
        return node(count.bit_length() - 1, start // count)
    middle = start + split(count)
    return node_hash(_range(start, middle, node), _range(middle, end, node))


def _path(index: int, start: int, end: int, node: Node) -> list[bytes]:
    if end - start == 1:
        return []
    middle = start + split(end - start)
    if index < middle:
        return [*_path(index, start, middle, node), _range(middle, end, node)]
    return [*_path(index, middle, end, node), _range(start, middle, node)]


def _subproof(old: int, start: int, end: int, node: Node, *, known: bool) -> list[bytes]:
    if old == end:
        return [] if known else [_range(start, end, node)]
    middle = start + split(end - start)
    if old <= middle:
        return [*_subproof(old, start, middle, node, known=known), _range(middle, end, node)]
    return [*_subproof(old, middle, end, node, known=False), _range(start, middle, node)]
