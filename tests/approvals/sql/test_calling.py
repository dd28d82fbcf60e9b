"""What a statement may call: what it reads of the server and its catalogues is nothing."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from approvals.sql.plain import NotPlain
from tests.approvals.sql.test_broker import admin, issuer, reader, run

__all__ = ["admin", "issuer", "reader"]
Connection = psycopg.Connection[Any]

TELLING = (
    "* FROM pg_stat_get_activity(NULL)", "* FROM pg_show_all_settings()", "current_setting('port')",
    "pg_get_userbyid(10)", "pg_relation_filepath('invoices')", "version()", "inet_server_addr()",
    "table_to_xml('pg_catalog.pg_roles'::text, true, true, '')",
    "schema_to_xmlschema('public', true, true, '')",
    "database_to_xml(true, true, '')", "has_table_privilege('salaries', 'select')", "to_regclass('salaries')",
    "obj_description(1, 'pg_class')", "col_description(1, 1)", "format_type(23, -1)", "txid_current()",
    "current_database()", "current_schemas(true)", "current_catalog", "current_schema", "system_user",
    "'salaries'::regclass::oid", "10::regrole::text", "CAST(16384 AS pg_catalog.regclass)", "NULL::_regtype",
    "(CASE WHEN false THEN pg_typeof(1) ELSE '16384' END)::text", "makeaclitem(10, 10, 'SELECT', false)",
    "acldefault('r', 10)", "i.pg_typeof FROM invoices i", "(NULL::salaries).*", "NULL::public.salaries[]",
    "(NULL::_salaries)[1]", "* FROM json_populate_record(NULL::\"salaries\", '{}')", "pg_get_keywords()",
    "* FROM pg_options_to_table(ARRAY['a=b'])",
    "pg_client_encoding()", "pg_input_is_valid('salaries', 'regclass')", '"pg_backend_pid"()',
    "enum_range(NULL)",
    "information_schema._pg_index_position(1, 1::smallint)", "pg_timezone_names()", "pg_conf_load_time()",
)  # fmt: skip


def test_nothing_of_the_server_or_its_catalogues_is_told(reader: Connection) -> None:
    for what in TELLING:
        with pytest.raises(NotPlain, match=r"tells of the server|tells its columns"):
            run(reader, f"SELECT {what}")


USUAL = (
    "count(*), sum(amount), max(id), string_agg(customer, ',') FROM invoices",
    "date_trunc('month', now()), extract(year FROM current_date), to_char(now(), 'YYYY'), age(now())",
    "json_agg(i), to_jsonb(i), row_to_json(i) FROM invoices i GROUP BY i.*", "pg_size_pretty(10::bigint)",
    "lower(customer) AS current_user, i.id::numeric(10, 2), '2020-01-01'::timestamp(3) FROM invoices i",
    "concat_ws(' ', customer, id), format('%s', id), coalesce(nullif(id, 1), 0) FROM invoices",
    "to_tsvector('english', customer) @@ plainto_tsquery('x'), current_user, session_user FROM invoices",
    "(now(), now()) OVERLAPS (now(), now()), array_to_string(ARRAY[1], ','), random()",
    "rank() OVER (ORDER BY id), lag(id) OVER (ORDER BY id) FROM invoices",
    "* FROM generate_series(now(), now(), '1 day'::interval) AS n", "pg_column_size(id) FROM invoices",
)  # fmt: skip


def test_what_reports_are_made_of_is_called(reader: Connection) -> None:
    assert [what for what in USUAL if not run(reader, f"SELECT {what}").row_count] == []


def test_a_function_of_a_row_is_not_called_as_if_it_were_a_column(
    reader: Connection, admin: Connection
) -> None:
    """PostgreSQL reads `i.alarm` as `alarm(i)` where the table has no such column."""
    admin.execute("CREATE FUNCTION alarm(invoices) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1'")
    try:
        with pytest.raises(NotPlain, match=r"alarm\(\) may have an effect"):
            run(reader, "SELECT i.alarm FROM invoices i")
    finally:
        admin.execute("DROP FUNCTION alarm(invoices)")
