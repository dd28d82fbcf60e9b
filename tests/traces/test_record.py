"""An event goes into the log, is read back, and is forgotten."""

from __future__ import annotations

import json
import threading
import uuid

import pytest
from django.db import connection, transaction

from tests.traces.ledger import Ledger
from traces import problems, record, seal
from traces.models import Entry, Outbox, Session, Span, SubjectKey
from traces.verify import leaf_hash

pytestmark = pytest.mark.django_db


@pytest.fixture
def session() -> Session:
    return record.open_session(
        agent_id="7", agent_name="billing-bot", actor="agent:7", team="finance", user="ada"
    )


def append(session: Session | None = None, **wish: object) -> Entry:
    wish = {"kind": "test.event", "body": {"n": 1}, "actor": "agent:7", **wish}
    return record.append(session=session, **wish)  # type: ignore[arg-type]


def test_an_event_is_read_back_as_it_was_written(session: Session) -> None:
    entry = append(session, body={"text": "hello", "n": [1, 2.5, None]})
    assert record.open_payload(Entry.objects.get(pk=entry.pk)) == {"text": "hello", "n": [1, 2.5, None]}


def test_nul_and_lone_surrogates_survive(session: Session) -> None:
    body = {"text": "a\x00b \ud800 \udfff", "k\x00\ud801": ["\x00"]}
    entry = append(session, body=body, title="\x00\ud800", text="a\x00b", attributes={"\x00": "\udfff"})
    assert record.open_payload(Entry.objects.get(pk=entry.pk)) == body


def test_what_search_shows_replaces_what_a_text_column_cannot_hold(session: Session) -> None:
    entry = append(session, title="a\x00b\ud800")
    assert Span.objects.get(pk=entry.pk).title == "a\ufffdb\ufffd"


def test_a_session_is_a_chain(session: Session) -> None:
    append(session)
    append(session)
    entries = list(Entry.objects.of_session(session.pk))
    links = [json.loads(bytes(entry.header))["prev"] for entry in entries]
    assert links == ["", *[bytes(entry.leaf_hash).hex() for entry in entries[:-1]]]


def test_the_leaf_binds_header_and_sealed_payload(session: Session) -> None:
    entry = Entry.objects.get(pk=append(session).pk)
    assert bytes(entry.leaf_hash) == leaf_hash(bytes(entry.header), bytes(entry.sealed))


def test_every_event_waits_for_the_sequencer(session: Session) -> None:
    entry = append(session)
    assert Outbox.objects.filter(entry=entry).exists()


def test_an_event_needs_the_transaction_of_what_it_records(transactional_db: None) -> None:
    with pytest.raises(transaction.TransactionManagementError):
        append()


def test_what_rolls_back_leaves_no_entry(session: Session) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        append(session, kind="test.lost")
        raise ZeroDivisionError
    assert not Entry.objects.filter(kind="test.lost").exists()


@pytest.mark.parametrize(
    "wish",
    [
        {"kind": "Not A Kind"},
        {"kind": ""},
        {"actor": ""},
        {"actor": "a\x00"},
        {"actor": "\ud800"},
        {"action": "x" * 65},
        {"action": "a b"},
        {"body": {"f": float("nan")}},
        {"body": {"o": object()}},
    ],
)
def test_a_malformed_event_is_refused(wish: dict[str, object]) -> None:
    with pytest.raises(problems.Invalid):
        append(**wish)


def test_an_event_beyond_16_mib_is_refused() -> None:
    with pytest.raises(problems.TooLarge):
        append(body={"text": "x" * (16 * 1024 * 1024)})


def test_an_unknown_session_is_refused() -> None:
    with pytest.raises(problems.NotFound):
        append(Session(pk=uuid.uuid4(), agent_id="7", agent_name="ghost"))


def test_labels_only_grow(session: Session) -> None:
    record.add_labels(session=session, labels=["untrusted"], why="read a page", actor="agent:7")
    assert record.add_labels(session=session, labels=["private"], why="mail", actor="agent:7") == [
        "private",
        "untrusted",
    ]


def test_a_label_that_is_there_is_not_logged_again(session: Session) -> None:
    for _ in range(2):
        record.add_labels(session=session, labels=["untrusted"], why="read a page", actor="agent:7")
    assert Entry.objects.filter(kind="session.labelled").count() == 1


def test_a_person_clears_a_label_with_a_reason(session: Session) -> None:
    record.add_labels(session=session, labels=["untrusted"], why="read a page", actor="agent:7")
    assert record.clear_label(session=session, label="untrusted", why="my own page", actor="user:1") == []


def test_clearing_a_label_without_a_reason_is_refused(session: Session) -> None:
    record.add_labels(session=session, labels=["untrusted"], why="read a page", actor="agent:7")
    with pytest.raises(problems.Invalid):
        record.clear_label(session=session, label="untrusted", why=" ", actor="user:1")


def test_a_stale_object_does_not_lose_labels(session: Session) -> None:
    stale = Session.objects.get(pk=session.pk)
    record.add_labels(session=session, labels=["untrusted"], why="read a page", actor="agent:7")
    assert record.add_labels(session=stale, labels=["private"], why="x", actor="agent:7") == [
        "private",
        "untrusted",
    ]


def test_an_erased_person_cannot_be_read(session: Session) -> None:
    entry = append(session, body={"mail": "ada@example.com"})
    record.erase_subject(subject="ada", actor="user:1")
    assert isinstance(record.open_payload(Entry.objects.get(pk=entry.pk)), record.Erased)


def test_erasure_purges_what_search_shows(session: Session) -> None:
    entry = append(session, title="ada's mail")
    record.erase_subject(subject="ada", actor="user:1")
    assert not Span.objects.filter(pk=entry.pk).exists()


def test_erasure_leaves_no_name(session: Session) -> None:
    record.erase_subject(subject="ada", actor="user:1")
    named = SubjectKey.objects.filter(subject="ada").count() + Session.objects.serving("ada").count()
    assert named == 0


def test_erasure_is_an_entry_that_names_keys_only(session: Session) -> None:
    erasure = record.erase_subject(subject="ada", actor="user:1")
    assert "ada" not in json.dumps(record.open_whole(erasure))


def test_erasing_nobody_is_refused() -> None:
    with pytest.raises(problems.NotFound):
        record.erase_subject(subject="nobody", actor="user:1")


def test_the_site_itself_cannot_be_erased() -> None:
    append()
    with pytest.raises(problems.Invalid):
        record.erase_subject(subject="site", actor="user:1")


def test_a_person_who_comes_back_gets_a_new_key(session: Session) -> None:
    record.erase_subject(subject="ada", actor="user:1")
    entry = append(subject="ada", body={"back": True})
    assert record.open_payload(entry) == {"back": True}


def test_after_a_restore_the_erasure_is_replayed(session: Session) -> None:
    entry = append(session)
    key = SubjectKey.objects.get(pk=entry.subject_key_id)
    wrapped = key.wrapped
    record.erase_subject(subject="ada", actor="user:1")
    SubjectKey.objects.filter(pk=key.pk).update(wrapped=wrapped, erased_at=None, subject="ada")
    record.replay_erasures()
    assert isinstance(record.open_payload(Entry.objects.get(pk=entry.pk)), record.Erased)


def test_another_rows_key_does_not_open_it(session: Session) -> None:
    entry = append(session)
    other = append(subject="eve").subject_key
    mine = SubjectKey.objects.get(pk=entry.subject_key_id)
    SubjectKey.objects.filter(pk=mine.pk).update(wrapped=other.wrapped)
    with pytest.raises(seal.Tampered):
        record.open_payload(Entry.objects.get(pk=entry.pk))


def test_a_session_may_be_opened_with_any_text() -> None:
    session = record.open_session(
        agent_id="7", agent_name="bot", actor="agent:7", purpose="\x00", user="\ud800", external_id="\x00"
    )
    assert Session.objects.get(pk=session.pk).user == "\ufffd"


def test_a_name_too_long_to_keep_is_refused() -> None:
    with pytest.raises(problems.Invalid):
        record.open_session(agent_id="7", agent_name="bot", actor="agent:7", external_id="x" * 201)


def test_an_erasure_waits_for_the_event_that_is_being_written(ledger: Ledger) -> None:
    session = ledger.session("ada")
    eraser = threading.Thread(target=erase, args=("ada",))
    with transaction.atomic():
        append(None, subject="ada", title="ada's mail")
        eraser.start()
        eraser.join(0.3)
        waited = eraser.is_alive()
    eraser.join(10)
    left = Span.objects.filter(title="ada's mail").count()
    assert (waited, left, Session.objects.get(pk=session.pk).user) == (True, 0, "")


def erase(subject: str) -> None:
    try:
        record.erase_subject(subject=subject, actor="user:1")
    finally:
        connection.close()


def test_first_events_about_somebody_share_one_key(ledger: Ledger) -> None:
    writers = [threading.Thread(target=append_once, args=("new person",)) for _ in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    keys = set(Entry.objects.filter(kind="test.event").values_list("subject_key", flat=True))
    assert (len(keys), Entry.objects.filter(kind="test.event").count()) == (1, 8)


def append_once(subject: str) -> None:
    try:
        with transaction.atomic():
            append(None, subject=subject)
    finally:
        connection.close()
