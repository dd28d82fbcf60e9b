"""A superuser rewrites the log with triggers off; `verify` says what happened, and to which entry."""

from __future__ import annotations

import hashlib

import psycopg
import pytest
from django.conf import settings

from tests.traces.ledger import Ledger, kinds, named
from traces import record, tiles
from traces.models import Checkpoint, Entry, Session
from traces.verify import leaf_hash

FLIP = "UPDATE traces_entry SET {0} = set_byte({0}, 40, get_byte({0}, 40) # 1) WHERE id = %s"


@pytest.fixture
def session(ledger: Ledger) -> Session:
    session = ledger.session()
    for number in range(6):
        ledger.append(session, body={"n": number})
        if number in (1, 3):
            ledger.integrate()
    ledger.integrate()
    return session


@pytest.fixture
def victim(session: Session) -> Entry:
    return Entry.objects.get(session=session, seq=4)


def test_an_honest_log_verifies(ledger: Ledger, session: Session) -> None:
    assert ledger.audit().findings == []


def test_what_waits_for_the_sequencer_is_no_finding(ledger: Ledger, session: Session) -> None:
    ledger.append(session)
    found = ledger.audit()
    assert (found.findings, found.waiting) == ([], 1)


def test_an_empty_log_verifies(ledger: Ledger) -> None:
    assert ledger.audit().findings == []


@pytest.mark.parametrize("column", ["sealed", "header"])
def test_one_byte_changed_is_found_and_named(ledger: Ledger, victim: Entry, column: str) -> None:
    ledger.forge(FLIP.format(column), victim.pk)
    found = ledger.audit().findings
    assert (kinds(found), named(found)) == ({"edited"}, {str(victim.uuid)})


@pytest.mark.parametrize(
    ("column", "value"),
    [("kind", "'x'"), ("actor", "'x'"), ("action_id", "'x'"), ("at", "now()"), ("seq", "99")],
)
def test_a_column_that_differs_from_the_header_is_found(
    ledger: Ledger, victim: Entry, column: str, value: str
) -> None:
    ledger.forge(f"UPDATE traces_entry SET {column} = {value} WHERE id = %s", victim.pk)
    assert str(victim.uuid) in named(ledger.audit().findings)


def rewrite(ledger: Ledger, victim: Entry) -> bytes:
    """Another payload, with the entry's hash made to fit."""
    sealed = bytes(victim.sealed)[::-1]
    forged = leaf_hash(bytes(victim.header), sealed)
    ledger.forge(
        "UPDATE traces_entry SET sealed = %s, leaf_hash = %s WHERE id = %s", sealed, forged, victim.pk
    )
    return forged


def test_an_edit_that_fits_its_hash_is_found(ledger: Ledger, victim: Entry) -> None:
    rewrite(ledger, victim)
    assert named(ledger.audit().findings) == {str(victim.uuid)}


def test_an_edit_that_fits_its_leaf_is_found(ledger: Ledger, victim: Entry) -> None:
    forged = rewrite(ledger, victim)
    ledger.forge("UPDATE traces_leaf SET hash = %s WHERE entry_id = %s", forged, victim.pk)
    assert named(ledger.audit().findings) == {str(victim.uuid)}


def test_an_edit_that_fits_leaf_and_tile_is_found(ledger: Ledger, victim: Entry) -> None:
    forged = rewrite(ledger, victim)
    ledger.forge("UPDATE traces_leaf SET hash = %s WHERE entry_id = %s", forged, victim.pk)
    row = ledger.superuser.execute("SELECT data FROM traces_tile WHERE level = 0").fetchone()
    assert row is not None
    data = row[0].replace(bytes(victim.leaf_hash), forged)
    ledger.forge("UPDATE traces_tile SET data = %s WHERE level = 0", data)
    assert named(ledger.audit().findings) == {str(victim.uuid)}


def test_a_last_entry_rewritten_everywhere_is_found_by_the_signature(
    ledger: Ledger, session: Session
) -> None:
    last = Entry.objects.get(session=session, seq=7)
    forged = rewrite(ledger, last)
    ledger.forge("UPDATE traces_leaf SET hash = %s WHERE entry_id = %s", forged, last.pk)
    ledger.forge("UPDATE traces_session SET head = %s WHERE id = %s", forged, session.pk)
    row = ledger.superuser.execute("SELECT data FROM traces_tile WHERE level = 0").fetchone()
    assert row is not None
    data = row[0].replace(bytes(last.leaf_hash), forged)
    ledger.forge("UPDATE traces_tile SET data = %s WHERE level = 0", data)
    root = tiles.root(size=7, tiles={tiles.Place(0, 0): data})
    ledger.forge("UPDATE traces_checkpoint SET root = %s WHERE size = 7", root)
    found = ledger.audit().findings
    assert ("forked", str(last.uuid)) in {(finding.kind, finding.entry) for finding in found}


def test_a_deleted_entry_is_found(ledger: Ledger, victim: Entry) -> None:
    ledger.forge("DELETE FROM traces_entry WHERE id = %s", victim.pk)
    assert ("deleted", f"#{victim.pk}") in {(f.kind, f.entry) for f in ledger.audit().findings}


def test_an_entry_deleted_with_its_leaf_is_found(ledger: Ledger, victim: Entry) -> None:
    ledger.forge("DELETE FROM traces_leaf WHERE entry_id = %s", victim.pk)
    ledger.forge("DELETE FROM traces_entry WHERE id = %s", victim.pk)
    following = Entry.objects.get(session=victim.session, seq=5)
    found = ledger.audit().findings
    assert ("deleted", str(following.uuid)) in {(f.kind, f.entry) for f in found}


def test_an_entry_taken_out_of_the_tree_is_found(ledger: Ledger, victim: Entry) -> None:
    ledger.forge("DELETE FROM traces_leaf WHERE entry_id = %s", victim.pk)
    assert ("inserted", str(victim.uuid)) in {(f.kind, f.entry) for f in ledger.audit().findings}


def test_an_inserted_entry_is_found(ledger: Ledger, session: Session) -> None:
    ledger.forge(
        "INSERT INTO traces_entry "
        "(uuid, session_id, seq, kind, actor, at, header, sealed, leaf_hash, subject_key_id) "
        "SELECT gen_random_uuid(), session_id, 8, kind, actor, at, header, sealed, leaf_hash, subject_key_id "
        "FROM traces_entry WHERE session_id = %s AND seq = 7",
        session.pk,
    )
    inserted = Entry.objects.get(session=session, seq=8)
    assert ("inserted", str(inserted.uuid)) in {(f.kind, f.entry) for f in ledger.audit().findings}


def test_an_inserted_entry_with_a_leaf_is_found(ledger: Ledger, victim: Entry) -> None:
    forged = ledger.append()
    ledger.forge("DELETE FROM traces_outbox WHERE entry_id = %s", forged.pk)
    ledger.forge(
        "INSERT INTO traces_leaf (index, entry_id, hash) VALUES (7, %s, %s)",
        forged.pk,
        bytes(forged.leaf_hash),
    )
    assert "inserted" in kinds(ledger.audit().findings)


def test_two_leaves_that_changed_places_are_found(ledger: Ledger, session: Session) -> None:
    first, second = Entry.objects.filter(session=session, seq__in=[3, 4]).order_by("seq")
    ledger.forge("UPDATE traces_leaf SET index = 100 WHERE entry_id = %s", first.pk)
    ledger.forge("UPDATE traces_leaf SET index = 2 WHERE entry_id = %s", second.pk)
    ledger.forge("UPDATE traces_leaf SET index = 3 WHERE entry_id = %s", first.pk)
    found = ledger.audit().findings
    assert ("reordered", str(first.uuid)) in {(f.kind, f.entry) for f in found}


def cut(ledger: Ledger, session: Session) -> Entry:
    """The last two entries gone as if they had never been, the checkpoint and all; the one before them."""
    kept = Entry.objects.get(session=session, seq=5)
    ledger.forge("DELETE FROM traces_leaf WHERE index >= 5")
    ledger.forge("DELETE FROM traces_entry WHERE session_id = %s AND seq > 5", session.pk)
    ledger.forge("DELETE FROM traces_checkpoint WHERE size > 5")
    ledger.forge("UPDATE traces_tile SET data = substring(data FOR 160), width = 5 WHERE level = 0")
    return kept


def test_a_tail_that_is_cut_off_is_found_by_its_session(ledger: Ledger, session: Session) -> None:
    kept = cut(ledger, session)
    assert ("truncated", str(kept.uuid)) in {(f.kind, f.entry) for f in ledger.audit().findings}


def test_a_tail_cut_off_everywhere_is_found_by_what_was_seen(ledger: Ledger, session: Session) -> None:
    newest = Checkpoint.objects.newest()
    assert newest is not None
    kept = cut(ledger, session)
    ledger.forge(
        "UPDATE traces_session SET seq = 5, head = %s WHERE id = %s", bytes(kept.leaf_hash), session.pk
    )
    assert kinds(ledger.audit({newest.size: bytes(newest.root)}).findings) == {"truncated"}


def test_leaves_cut_off_under_a_checkpoint_are_found(ledger: Ledger, session: Session) -> None:
    ledger.forge("DELETE FROM traces_leaf WHERE index >= 5")
    assert {"truncated", "inserted"} <= kinds(ledger.audit().findings)


def test_another_history_of_the_same_size_is_a_fork(ledger: Ledger, session: Session) -> None:
    assert kinds(ledger.audit({5: hashlib.sha256(b"another").digest()}).findings) == {"forked"}


def test_a_checkpoint_signed_by_nobody_is_found(ledger: Ledger, session: Session) -> None:
    ledger.forge("UPDATE traces_checkpoint SET note = replace(note, '— ', '— x') WHERE size = 7")
    assert "unsigned" in kinds(ledger.audit().findings)


def test_a_vanished_session_is_found(ledger: Ledger, session: Session) -> None:
    ledger.forge("DELETE FROM traces_session WHERE id = %s", session.pk)
    assert "deleted" in kinds(ledger.audit().findings)


def test_erasure_leaves_every_proof_valid(ledger: Ledger, session: Session) -> None:
    record.erase_subject(subject="ada", actor="user:1")
    ledger.integrate()
    assert ledger.audit().findings == []


COLUMNS = {"traces_entry": "kind", "traces_outbox": "entry_id", "traces_checkpoint": "note"}
TABLES = ["traces_entry", "traces_leaf", "traces_tile", "traces_checkpoint", "traces_outbox"]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("change", ["UPDATE {0} SET {1} = {1}", "DELETE FROM {0}", "TRUNCATE {0} CASCADE"])
def test_the_app_may_only_append(ledger: Ledger, session: Session, table: str, change: str) -> None:
    column = COLUMNS.get(table, "index")
    with (
        psycopg.connect(settings.AGENTSEC_DATABASE_URL, autocommit=True) as app,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        app.execute(change.format(table, column).encode())


@pytest.mark.parametrize("table", ["traces_leaf", "traces_tile", "traces_checkpoint"])
def test_the_app_cannot_write_the_tree(ledger: Ledger, table: str) -> None:
    with (
        psycopg.connect(settings.AGENTSEC_DATABASE_URL, autocommit=True) as app,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        app.execute(f"INSERT INTO {table} DEFAULT VALUES".encode())


@pytest.mark.parametrize("table", ["traces_entry", "traces_leaf", "traces_checkpoint"])
@pytest.mark.parametrize("change", ["UPDATE {0} SET {1} = {1}", "DELETE FROM {0}", "TRUNCATE {0} CASCADE"])
def test_not_even_the_owner_may_change_the_log(
    ledger: Ledger, session: Session, table: str, change: str
) -> None:
    column = COLUMNS.get(table, "index")
    ledger.superuser.execute("SET session_replication_role = DEFAULT")
    ledger.superuser.execute("SET ROLE agentsec_owner")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ledger.superuser.execute(change.format(table, column).encode())


def test_a_tile_only_grows(ledger: Ledger, session: Session) -> None:
    with (
        psycopg.connect(ledger.sequencer_dsn, autocommit=True) as sequencer,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        sequencer.execute("UPDATE traces_tile SET data = decode(repeat('00', 256), 'hex'), width = 8")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE traces_entry SET kind = kind",
        "INSERT INTO traces_outbox SELECT 1",
        "SELECT sealed FROM traces_entry",
        "SELECT 1 FROM traces_subjectkey",
        "SELECT 1 FROM policies_user",
        "CREATE TABLE x (n int)",
    ],
)
def test_the_sequencer_sees_hashes_and_writes_the_tree_alone(ledger: Ledger, statement: str) -> None:
    with (
        psycopg.connect(ledger.sequencer_dsn, autocommit=True) as sequencer,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        sequencer.execute(statement.encode())


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE x (n int)",
        "SET session_replication_role = replica",
        "ALTER TABLE traces_entry DISABLE TRIGGER ALL",
    ],
)
def test_the_app_cannot_switch_the_guard_off(ledger: Ledger, statement: str) -> None:
    with (
        psycopg.connect(settings.AGENTSEC_DATABASE_URL, autocommit=True) as app,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        app.execute(statement.encode())
