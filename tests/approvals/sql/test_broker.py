"""The broker on a real database: what it answers, what it cuts, and that nobody gets out of it."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import psycopg
import pytest

from agentsec_site.embedded import Services
from approvals.sql import broker, plain, plan
from approvals.sql.broker import Answer, Bounds, Ended, Gates
from approvals.sql.plain import NotPlain, Plain
from policies.values import MAX_SAFE_INTEGER
from tests import billing
from tests.granted import role
from traces.problems import Refused

Connection = psycopg.Connection[Any]
ALL = ("select", "insert", "update", "delete")
INVOICES = [(1, "Acme", "120.50"), (2, "Globex", "80")]


@pytest.fixture(scope="module")
def issuer(billing_url: str) -> Iterator[Connection]:
    with psycopg.connect(billing_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def admin(services: Services, billing_url: str) -> Iterator[Connection]:
    with psycopg.connect(billing.billing_admin(services), autocommit=True) as connection:
        yield connection


@pytest.fixture
def reader(issuer: Connection, billing_url: str) -> Iterator[Connection]:
    with role(issuer, billing_url) as connection:
        yield connection


@pytest.fixture
def writer(issuer: Connection, billing_url: str) -> Iterator[Connection]:
    with role(issuer, billing_url, operations=list(ALL)) as connection:
        yield connection


def gates(stop: threading.Event | None = None) -> Gates:
    return Gates(still=lambda: nullcontext(), stop=stop or threading.Event())


def run(connection: Connection, text: str, *operations: str, **bounds: Any) -> Answer:
    statement = plain.read(text, operations=frozenset(operations or ("select",)), tables=("invoices",))
    return broker.run(connection, statement, Bounds(**bounds), gates())


def unread(text: str, *operations: str) -> Plain:
    """A statement that no parser has looked at: what then holds is the server."""
    return Plain(text, "select", frozenset(operations or ("select",)), ())


def invoices(admin: Connection) -> list[Any]:
    return admin.execute("SELECT id, customer, amount::text FROM invoices ORDER BY id").fetchall()


def test_values_come_as_json_that_rounds_nothing(reader: Connection) -> None:
    text = (
        "SELECT 1::int, 9007199254740993::bigint, 'NaN'::float8, 1.50::numeric, true, null, "
        "'infinity'::date, '\\x00ff'::bytea, '{\"a\": [1, 2.5]}'::jsonb, '{\"a\": 1, \"a\": 2}'::json, "
        "ARRAY[1, null]::bigint[], "
        "ARRAY['2024-01-01'::date], '1 day 2 hours'::interval, int4range(1, 5), ROW(1, 'x'), "
        "'2024-05-01 12:00:00+02'::timestamptz, 'a'::\"char\", '::1'::inet"
    )
    answer = run(reader, text)
    assert json.loads(json.dumps(answer.to_json()["rows"], allow_nan=False)) == [
        [1, "9007199254740993", "NaN", "1.50", True, None, "infinity", "\\x00ff", {"a": [1, 2.5]},
         '{"a": 1, "a": 2}', [1, None], ["2024-01-01"], "P1DT2H", "[1,5)", "(1,x)",
         "2024-05-01 10:00:00+00", "a", "::1"]
    ]  # fmt: skip


def test_more_rows_than_allowed_are_cut_and_said(reader: Connection) -> None:
    answer = run(reader, "SELECT * FROM generate_series(1, 1000000) AS n", rows=3)
    assert (answer.rows, answer.row_count, answer.truncated) == (([1], [2], [3]), 3, True)


def test_more_bytes_than_allowed_are_cut_and_said(reader: Connection) -> None:
    answer = run(reader, "SELECT repeat('x', 400) FROM generate_series(1, 9)", output_bytes=1000)
    assert (answer.row_count, answer.truncated) == (2, True)


def test_a_value_as_large_as_the_worker_ends_it(reader: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "MEMORY", 4 << 20)
    with pytest.raises(Ended, match="larger than this worker may hold"):
        run(reader, "SELECT repeat('x', 40000000)", output_bytes=1000)


def test_one_that_takes_too_long_is_ended(reader: Connection) -> None:
    began = time.monotonic()
    with pytest.raises(Ended) as ended:
        run(reader, "SELECT count(*) FROM generate_series(1, 100000000000) AS n", wall_seconds=1)
    assert (ended.value.how, time.monotonic() - began < 3) == ("wall", True)


def test_stopped_it_ends_within_a_second(reader: Connection) -> None:
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    statement = plain.read("SELECT count(*) FROM generate_series(1, 100000000000) AS n",
                           operations=frozenset({"select"}), tables=())  # fmt: skip
    began = time.monotonic()
    with pytest.raises(Ended) as ended:
        broker.run(reader, statement, Bounds(), gates(stop))
    assert (ended.value.how, time.monotonic() - began < 1.2) == ("stopped", True)


CALLS = (
    "pg_sleep(1)", "set_config('statement_timeout', '0', false)", "lo_creat(1)", "pg_advisory_lock(1)",
    "pg_notify('x', 'y')", "query_to_xml('SELECT 1', true, true, '')", "pg_read_file('/etc/passwd')",
    "lo_import('/etc/passwd')", "pg_terminate_backend(1)", "setseed(0)", '"pg_sleep"(1)',
    "pg_catalog.pg_sleep(1)", "pg_export_snapshot()",
)  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_a_function_with_an_effect_is_not_called(reader: Connection, call: str) -> None:
    with pytest.raises(NotPlain, match="may have an effect of its own"):
        run(reader, f"SELECT {call}")


ESCAPES = (
    "DELETE FROM invoices", "SELECT 1; DELETE FROM invoices", "ANALYZE DELETE FROM invoices",
    "(ANALYZE TRUE) DELETE FROM invoices", "EXPLAIN ANALYZE DELETE FROM invoices",
    "WITH d AS (DELETE FROM invoices RETURNING 1) SELECT * FROM d", "COMMIT", "ROLLBACK", "COMMIT AND CHAIN",
    "SET TRANSACTION READ WRITE", "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "SELECT set_config('transaction_read_only', 'off', false)", "SELECT lo_create(0)",
    "CREATE TEMPORARY TABLE x (id int)", "SELECT * INTO x FROM invoices", "CREATE TABLE x AS SELECT 1",
    "DO $$ BEGIN DELETE FROM invoices; END $$", "COPY invoices TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/x'", "DECLARE c CURSOR WITH HOLD FOR SELECT 1", "LISTEN x", "NOTIFY x",
    "SELECT * FROM salaries", "SELECT * FROM pg_catalog.pg_roles", "TABLE pg_catalog.pg_stat_activity",
    "SELECT * FROM information_schema.tables", "SET ROLE billing_issuer", "TRUNCATE invoices",
    "PREPARE x AS SELECT 1", "LOCK TABLE invoices", "SELECT * FROM invoices FOR UPDATE", "VACUUM",
    "ALTER ROLE CURRENT_USER VALID UNTIL 'infinity'", "ALTER ROLE CURRENT_USER PASSWORD 'x'",
    "SELECT 1 \\; DELETE FROM invoices", "SELECT query_to_xml('DELETE FROM invoices', true, true, '')",
)  # fmt: skip


@pytest.mark.parametrize("text", ESCAPES)
def test_without_any_parser_a_reading_role_changes_and_sees_nothing(
    reader: Connection, admin: Connection, text: str
) -> None:
    with pytest.raises((Ended, NotPlain)):
        broker.run(reader, unread(text), Bounds(wall_seconds=2), gates())
    assert invoices(admin) == INVOICES


@pytest.mark.parametrize("text", ESCAPES)
def test_a_plan_executes_nothing_even_under_a_role_that_may_write(
    writer: Connection, admin: Connection, text: str
) -> None:
    broker.begin(writer, writes=False, seconds=2, lock_seconds=1)
    with contextlib.suppress(psycopg.Error, NotPlain):  # what is not refused must have done nothing
        plan.checked(writer, unread(text, *ALL))
    writer.close()
    assert invoices(admin) == INVOICES
    assert admin.execute("SELECT 1 FROM pg_largeobject_metadata").fetchall() == []


def test_a_plan_tells_tables_and_rows_of_a_change(writer: Connection, admin: Connection) -> None:
    admin.execute("ANALYZE invoices")
    statement = plain.read(
        "DELETE FROM invoices WHERE id > 0", operations=frozenset(ALL), tables=("invoices",)
    )
    broker.begin(writer, writes=False, seconds=2, lock_seconds=1)
    made = plan.checked(writer, statement)
    assert (made.operations, made.changed, [(scan.table, scan.whole) for scan in made.scans]) == (
        ("delete",), 2, [("invoices", True)],
    )  # fmt: skip
    assert plan.Plan.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_a_plan_of_more_rows_than_numbers_hold_is_told(reader: Connection) -> None:
    many = ", ".join(f"generate_series(1, 1000000) AS n{number}" for number in range(20))
    statement = plain.read(f"SELECT 1 FROM {many}", operations=frozenset({"select"}), tables=())
    broker.begin(reader, writes=False, seconds=2, lock_seconds=1)
    assert plan.checked(reader, statement).rows == MAX_SAFE_INTEGER


def test_lists_and_objects_are_bound_as_values(reader: Connection) -> None:
    text = "SELECT {ids} @> ARRAY[2], {about}::jsonb -> 'a', {deep}::jsonb -> 1, {name}, {none}::int"
    args = {"ids": [1, 2], "about": {"a": [1]}, "deep": [{}, {"b": 2}], "name": "x' --", "none": None}
    answer = broker.run(reader, plain.statement({"statement": text}, args), Bounds(), gates())
    assert answer.rows == ([True, [1], {"b": 2}, "x' --", None],)


def test_a_check_that_was_put_off_to_the_commit_ends_it_before(writer: Connection, admin: Connection) -> None:
    admin.execute("ALTER TABLE invoices ADD CONSTRAINT one UNIQUE (customer) DEFERRABLE INITIALLY DEFERRED")
    try:
        with pytest.raises(Ended, match="duplicate key"):
            run(writer, "UPDATE invoices SET customer = 'Acme'", *ALL)
    finally:
        admin.execute("ALTER TABLE invoices DROP CONSTRAINT one")
    assert invoices(admin) == INVOICES


def test_what_the_server_reads_otherwise_is_not_run(writer: Connection, admin: Connection) -> None:
    with pytest.raises(NotPlain, match="the server would delete"):
        broker.run(writer, unread("DELETE FROM invoices", "select", "update"), Bounds(), gates())
    assert invoices(admin) == INVOICES


def test_a_write_without_an_answer_is_committed(writer: Connection, admin: Connection) -> None:
    assert run(writer, "INSERT INTO invoices VALUES (7, 'x', 1)", *ALL).row_count == 1
    assert run(writer, "DELETE FROM invoices WHERE id = 7", *ALL).row_count == 1
    assert invoices(admin) == INVOICES


@contextmanager
def over() -> Iterator[None]:
    raise Refused("conflict", "this start is over")
    yield


def test_a_write_whose_start_is_over_by_then_is_not_committed(writer: Connection, admin: Connection) -> None:
    asked: list[AbstractContextManager[None]] = [nullcontext(), over()]
    late = Gates(still=lambda: asked.pop(0), stop=threading.Event())
    statement = plain.read("DELETE FROM invoices", operations=frozenset(ALL), tables=("invoices",))
    with pytest.raises(Refused, match="this start is over"):
        broker.run(writer, statement, Bounds(), late)
    assert (invoices(admin), asked) == (INVOICES, [])


def test_a_role_that_is_terminated_meanwhile_changes_nothing(writer: Connection, admin: Connection) -> None:
    def end() -> None:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'agentsec_g_%'"
        )

    threading.Timer(0.2, end).start()
    text = "DELETE FROM invoices WHERE id < (SELECT count(*) FROM generate_series(1, 100000000000))"
    with pytest.raises(Ended, match="terminating connection|lost"):
        run(writer, text, *ALL)
    assert invoices(admin) == INVOICES


def test_an_error_is_the_databases_own_words_and_no_address(reader: Connection) -> None:
    with pytest.raises(Ended) as ended:
        run(reader, "SELECT nothing FROM invoices")
    assert str(ended.value) == 'the database refused it: column "nothing" does not exist'


@pytest.mark.parametrize(
    "limits", [{"rows": 0}, {"rows": True}, {"wall_seconds": "1"}, {"pids": 3}, {"rows": -1}]
)
def test_a_limit_that_makes_no_sense_is_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(NotPlain, match="limit"):
        Bounds.of({"limits": limits})
