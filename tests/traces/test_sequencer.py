"""Entries go from the outbox into the tree, under signed checkpoints, by one leader."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import psycopg
import pytest
from django.db import connection, transaction

from tests.traces.ledger import Ledger
from traces import checkpoint, keys, merkle, problems, proofs, sequencer
from traces.models import Checkpoint, Entry, Leaf, Outbox, Session
from traces.verify import VerifierKey, verify_consistency, verify_inclusion


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def newest() -> Checkpoint:
    found = Checkpoint.objects.newest()
    assert found is not None
    return found


def test_what_waits_goes_into_the_tree_in_its_order(ledger: Ledger) -> None:
    entries = [ledger.append() for _ in range(5)]
    ledger.integrate()
    assert list(Leaf.objects.order_by("index").values_list("entry_id", flat=True)) == [e.pk for e in entries]


def test_the_outbox_is_empty_afterwards(ledger: Ledger) -> None:
    ledger.append()
    ledger.integrate()
    assert not Outbox.objects.exists()


def test_nothing_to_do_signs_nothing(ledger: Ledger) -> None:
    assert (ledger.integrate(), Checkpoint.objects.count()) == (0, 0)


def test_the_checkpoint_is_signed_and_has_the_root_of_the_entries(ledger: Ledger) -> None:
    entries = [ledger.append() for _ in range(5)]
    ledger.integrate()
    opened = checkpoint.open_checkpoint(newest().note, VerifierKey.parse(keys.verifier_key()))
    assert opened.root == merkle.root_of([bytes(entry.leaf_hash) for entry in entries])


def test_an_entry_is_covered_only_after_its_checkpoint(ledger: Ledger) -> None:
    entry = ledger.append()
    before = proofs.is_covered([entry.pk])
    ledger.integrate()
    assert (before, proofs.is_covered([entry.pk])) == (False, True)


def test_an_unknown_entry_is_never_covered(ledger: Ledger) -> None:
    entry = ledger.append()
    ledger.integrate()
    assert not proofs.is_covered([entry.pk, 10**12])


def test_the_badge_says_where_the_entry_stands(ledger: Ledger) -> None:
    ledger.append()
    entry = ledger.append()
    ledger.integrate()
    assert proofs.status(entry) == proofs.Proof(index=1, size=2, included=True)


def test_every_entry_has_a_proof_in_a_log_of_many_tiles(ledger: Ledger) -> None:
    with transaction.atomic():
        entries = [ledger.append() for _ in range(600)]
    ledger.integrate()
    root = bytes(newest().root)
    for entry in (entries[0], entries[255], entries[256], entries[599]):
        found = proofs.inclusion(entry.pk)
        leaf = bytes(entry.leaf_hash)
        verify_inclusion(index=found.index, size=found.size, leaf=leaf, proof=found.hashes, root=root)


def test_each_checkpoint_continues_the_one_before(ledger: Ledger) -> None:
    for count in (3, 255, 4):
        with transaction.atomic():
            for _ in range(count):
                ledger.append()
        ledger.integrate()
    old, new = Checkpoint.objects.get(size=3), newest()
    proof = proofs.consistency(old=3, new=262)
    verify_consistency(old=3, old_root=bytes(old.root), new=262, new_root=bytes(new.root), proof=proof)


def test_no_proof_for_what_no_checkpoint_covers(ledger: Ledger) -> None:
    entry = ledger.append()
    with pytest.raises(problems.NotFound):
        proofs.inclusion(entry.pk)


def test_a_session_keeps_its_order_under_concurrent_writers(ledger: Ledger) -> None:
    session = ledger.session()
    threads = [threading.Thread(target=_write_ten, args=(ledger, session.pk)) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        ledger.integrate()
    ledger.integrate()
    in_tree = Entry.objects.filter(session=session).order_by("leaf__index").values_list("seq", flat=True)
    assert (list(in_tree), ledger.audit().findings) == (list(range(1, 42)), [])


def _write_ten(ledger: Ledger, session_id: object) -> None:
    try:
        for _ in range(10):
            ledger.append(Session.objects.get(pk=session_id))
    finally:
        connection.close()


def test_two_sequencers_have_one_leader(ledger: Ledger) -> None:
    with (
        psycopg.connect(ledger.sequencer_dsn, autocommit=True) as leader,
        psycopg.connect(ledger.sequencer_dsn, autocommit=True) as other,
    ):
        ledger.append()
        leader.execute("SELECT pg_advisory_lock(%s)", [sequencer.LEADER])
        assert (sequencer.integrate_once(other), sequencer.integrate_once(leader)) == (0, 1)


def test_when_the_leader_dies_another_one_takes_over(ledger: Ledger) -> None:
    stop = threading.Event()
    runners = [threading.Thread(target=sequencer.run, args=(stop, ledger.sequencer_dsn)) for _ in range(2)]
    for runner in runners:
        runner.start()
    try:
        first = ledger.append()
        until(lambda: proofs.is_covered([first.pk]))
        ledger.superuser.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'agentsec sequencer'"
        )
        second = ledger.append()
        until(lambda: proofs.is_covered([second.pk]))
    finally:
        stop.set()
        for runner in runners:
            runner.join(10)
    assert ledger.audit().findings == []


def test_a_batch_that_fails_leaves_nothing_behind(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.append()

    def fail(**_wish: object) -> str:
        raise psycopg.OperationalError("the disk is full")

    monkeypatch.setattr(checkpoint, "sign", fail)
    with pytest.raises(psycopg.OperationalError):
        ledger.integrate()
    assert (Leaf.objects.count(), Outbox.objects.count()) == (0, 1)


@pytest.mark.parametrize(
    "forgery",
    [
        "UPDATE traces_tile SET data = decode(repeat('00', 32 * width), 'hex')",
        "DELETE FROM traces_tile",
        "UPDATE traces_checkpoint SET root = decode(repeat('00', 32), 'hex')",
        "UPDATE traces_checkpoint SET note = replace(note, E'\\n2\\n', E'\\n3\\n')",
        "DELETE FROM traces_checkpoint",
        "DELETE FROM traces_leaf WHERE index = 1",
    ],
)
def test_it_signs_nothing_on_top_of_a_forgery(ledger: Ledger, forgery: str) -> None:
    ledger.append()
    ledger.append()
    ledger.integrate()
    ledger.forge(forgery)
    ledger.append()
    with pytest.raises(sequencer.Damaged):
        ledger.integrate()


def test_an_entry_that_the_outbox_names_twice_does_not_stop_the_log(ledger: Ledger) -> None:
    entry = ledger.append()
    ledger.integrate()
    Outbox.objects.create(entry=entry)
    later = ledger.append()
    ledger.integrate()
    assert (proofs.is_covered([later.pk]), Outbox.objects.count(), Leaf.objects.count()) == (True, 0, 2)
