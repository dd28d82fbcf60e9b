"""The tree, its proofs and its tiles against the definitions of RFC 6962, written out naively."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces import merkle, tiles
from traces.verify import Invalid


def leaves_of(count: int) -> list[bytes]:
    return [hashlib.sha256(number.to_bytes(8)).digest() for number in range(count)]


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH of §2.1, word for word, over leaf hashes."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of §2.1.1."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if index < k:
        return [*naive_path(index, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(index - k, leaves[k:]), naive_root(leaves[:k])]


def naive_subproof(old: int, leaves: list[bytes], whole: bool) -> list[bytes]:
    """SUBPROOF of §2.1.2."""
    if old == len(leaves):
        return [] if whole else [naive_root(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if old <= k:
        return [*naive_subproof(old, leaves[:k], whole), naive_root(leaves[k:])]
    return [*naive_subproof(old - k, leaves[k:], False), naive_root(leaves[:k])]


class Log:
    """A log in memory that grows by batches, as the sequencer lets it grow."""

    def __init__(self, *batches: int) -> None:
        self.leaves = leaves_of(sum(batches))
        self.tiles: dict[tiles.Place, bytes] = {}
        size = 0
        for batch in batches:
            fresh = self.leaves[size : size + batch]
            self.tiles.update(tiles.grow(size=size, tiles=self.tiles, leaves=fresh))
            size += batch

    @property
    def size(self) -> int:
        return len(self.leaves)

    def node(self, level: int, index: int) -> bytes:
        return tiles.node(self.tiles, level, index)


LOG = Log(1, 300, 40, 255, 256, 1, 7)  # crosses tile borders at every kind of place
SIZES = st.integers(1, LOG.size)


@given(st.integers(0, 600))
def test_the_root_is_that_of_the_definition(count: int) -> None:
    assert merkle.root_of(leaves_of(count)) == naive_root(leaves_of(count))


@given(SIZES)
def test_the_root_from_tiles_is_that_of_the_definition(size: int) -> None:
    assert tiles.root(size=size, tiles=LOG.tiles) == naive_root(LOG.leaves[:size])


@given(SIZES)
def test_the_incomplete_tiles_are_enough_to_go_on(size: int) -> None:
    edge = {place: LOG.tiles[place] for place in tiles.edge(size)}
    assert tiles.root(size=size, tiles=edge) == naive_root(LOG.leaves[:size])


@given(st.lists(st.integers(1, 300), min_size=1, max_size=6))
def test_how_leaves_are_batched_makes_no_difference(batches: list[int]) -> None:
    one = Log(sum(batches))
    assert Log(*batches).tiles == one.tiles


def test_two_levels_of_full_tiles() -> None:
    log = Log(256 * 256 + 5)
    assert tiles.root(size=log.size, tiles=log.tiles) == merkle.root_of(log.leaves)


@given(SIZES, st.data())
def test_an_inclusion_proof_is_that_of_the_definition(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion(index=index, size=size, node=LOG.node)
    assert proof == naive_path(index, LOG.leaves[:size])


@given(SIZES, st.data())
def test_an_inclusion_proof_verifies(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion(index=index, size=size, node=LOG.node)
    root = naive_root(LOG.leaves[:size])
    merkle.verify_inclusion(index=index, size=size, leaf=LOG.leaves[index], proof=proof, root=root)


@given(SIZES, st.data())
def test_a_changed_inclusion_proof_does_not_verify(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion(index=index, size=size, node=LOG.node)
    root, leaf = naive_root(LOG.leaves[:size]), LOG.leaves[index]
    forged = data.draw(
        st.sampled_from(
            [
                {"leaf": LOG.leaves[index - 1] if size > 1 else b"\x00" * 32},
                {"proof": [*proof, b"\x00" * 32]},
                {"proof": proof[:-1] if proof else [b""]},
                {"proof": [b"\x00" * 32, *proof[1:]]},
                {"root": bytes(32)},
                {"index": (index + 1) % size if size > 1 else 1},
                {"index": -1},
                {"index": size},
            ]
        )
    )
    if forged in ({"index": index}, {"leaf": leaf}):
        return
    wish = {"index": index, "size": size, "leaf": leaf, "proof": proof, "root": root, **forged}
    with pytest.raises(Invalid):
        merkle.verify_inclusion(**wish)  # type: ignore[arg-type]


@given(SIZES, st.data())
def test_a_consistency_proof_is_that_of_the_definition(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    proof = merkle.consistency(old=old, new=new, node=LOG.node)
    assert proof == ([] if old == new else naive_subproof(old, LOG.leaves[:new], True))


@given(SIZES, st.data())
def test_a_consistency_proof_verifies(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    roots = {"old_root": naive_root(LOG.leaves[:old]), "new_root": naive_root(LOG.leaves[:new])}
    proof = merkle.consistency(old=old, new=new, node=LOG.node)
    merkle.verify_consistency(old=old, new=new, proof=proof, **roots)


@given(SIZES, st.data())
def test_a_rewritten_past_is_not_consistent(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    changed = data.draw(st.integers(0, old - 1))
    forged = [*LOG.leaves[:changed], bytes(32), *LOG.leaves[changed + 1 : old]]
    proof = merkle.consistency(old=old, new=new, node=LOG.node)
    with pytest.raises(Invalid):
        merkle.verify_consistency(
            old=old,
            old_root=naive_root(forged),
            new=new,
            new_root=naive_root(LOG.leaves[:new]),
            proof=proof,
        )


@given(SIZES, st.data())
def test_a_changed_consistency_proof_does_not_verify(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    proof = merkle.consistency(old=old, new=new, node=LOG.node)
    forged = data.draw(st.sampled_from([[*proof, bytes(32)], [bytes(32), *proof], [*proof[:-1], bytes(32)]]))
    roots = {"old_root": naive_root(LOG.leaves[:old]), "new_root": naive_root(LOG.leaves[:new])}
    with pytest.raises(Invalid):
        merkle.verify_consistency(old=old, new=new, proof=forged, **roots)


@given(st.integers(0, 5), st.integers(0, 10**10), st.integers(1, 256))
def test_a_tile_path_is_read_back(level: int, index: int, width: int) -> None:
    place = tiles.Place(level, index)
    assert tiles.parse(tiles.path(place, width)) == (place, width)


def test_a_tile_path_is_spelled_as_c2sp_spells_it() -> None:
    assert tiles.path(tiles.Place(0, 1234067), 17) == "0/x001/x234/067.p/17"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "0/1",
        "0/0001",
        "64/000",
        "00/000",
        "0/x000/001",
        "0/001.p/0",
        "0/001.p/256",
        "0/001/",
        "0/٠٠١",
    ],
)
def test_another_spelling_of_a_tile_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not the path of a tile"):
        tiles.parse(text)
