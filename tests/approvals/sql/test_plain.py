"""Which texts are one plain statement: the parser's part, before any database is asked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.sql import plain
from approvals.sql.plain import NotPlain, Plain

ALL = frozenset({"select", "insert", "update", "delete"})


def read(text: str, *operations: str) -> Plain:
    return plain.read(text, operations=frozenset(operations or ("select",)), tables=("invoices", "hr.People"))


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM invoices",
        "  -- why\n select 1 ; ",
        "(SELECT id FROM public.invoices) UNION SELECT 1",
        "WITH big AS (SELECT * FROM invoices) SELECT count(*) FROM big",
        "VALUES (1), (2)",
        "SELECT $$;$$, 'a;b', E'\\';' AS \"x;y\" FROM Invoices",
        'SELECT * FROM hr."People" p JOIN LATERAL (SELECT p.id) q ON true',
        "SELECT * FROM generate_series(1, 3) AS n",
    ],
)
def test_one_statement_that_reads_is_plain(text: str) -> None:
    assert read(text).command == "select"


REFUSED = {
    "SELECT 1; DROP TABLE invoices": "2 statements",
    "": "0 statements",
    "EXPLAIN ANALYZE DELETE FROM invoices": "EXPLAIN",
    "ANALYZE DELETE FROM invoices": "cannot be read",
    "DO $$ BEGIN END $$": "DO",
    "COPY invoices TO PROGRAM 'id'": "COPY",
    "COPY (SELECT 1) TO STDOUT": "COPY",
    "SET ROLE postgres": "SET",
    "RESET ALL": "RESET",
    "CALL work()": "CALL",
    "TRUNCATE invoices": "TRUNCATE",
    "CREATE TABLE x AS SELECT 1": "CREATE",
    "SELECT * INTO x FROM invoices": "SELECT INTO",
    "SELECT * FROM invoices FOR UPDATE": "locking rows",
    "MERGE INTO invoices USING invoices i ON true WHEN MATCHED THEN DELETE": "MERGE",
    "PREPARE x AS DELETE FROM invoices": "PREPARE",
    "EXECUTE x": "EXECUTE",
    "DECLARE c CURSOR FOR SELECT 1": "DECLARE",
    "LISTEN x": "LISTEN",
    "BEGIN": "TRANSACTION",
    "COMMIT": "COMMIT",
    "GRANT ALL ON invoices TO PUBLIC": "GRANT",
    "LOCK TABLE invoices": "LOCK",
    "VACUUM": "VACUUM",
    "DELETE FROM invoices": "this tool may select, not delete",
    "WITH d AS (DELETE FROM invoices RETURNING *) SELECT * FROM d": "this tool may select, not delete",
    "SELECT * FROM pg_stat_activity": "not pg_stat_activity",
    "SELECT * FROM pg_catalog.pg_authid": "not pg_catalog.pg_authid",
    "SELECT * FROM other.invoices": "not other.invoices",
    "SELECT * FROM billing.public.invoices": "not billing.public.invoices",
    "SELECT (SELECT 1 FROM salaries)": "not salaries",
    'SELECT U&"\\0070g_sleep"(1)': "Unicode escapes",
    "SELECT u&'\\0027'": "Unicode escapes",
    "SELECT 'x": "cannot be read",
    "SELECT 1 /* x": "cannot be read",
    "SELECT " + "(" * 200 + "1" + ")" * 200: "nested too deeply",
    "SELECT '" + "x" * 7000 + "'": "at most 6,000",
}


@pytest.mark.parametrize("text", REFUSED, ids=[text[:30] for text in REFUSED])
def test_anything_else_is_refused_in_plain_words(text: str) -> None:
    with pytest.raises(NotPlain, match=REFUSED[text]):
        read(text)


@pytest.mark.parametrize(
    ("text", "operations"),
    [
        ("DELETE FROM invoices", {"delete"}),
        ("WITH d AS (DELETE FROM invoices RETURNING *) SELECT * FROM d", {"select", "delete"}),
        ("INSERT INTO invoices VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 2", {"insert"}),
    ],
)
def test_it_says_what_a_statement_does(text: str, operations: set[str]) -> None:
    assert read(text, *ALL).operations == operations


def test_a_tool_that_only_adds_may_not_read() -> None:
    with pytest.raises(NotPlain, match="this tool may insert, not select"):
        read("SELECT * FROM invoices", "insert")


def test_every_name_that_could_be_called_is_told() -> None:
    text = "SELECT pg_Sleep (1), \"pg_Read\"/* x */(2), pg_catalog.lo_import\n('/etc/passwd') FROM invoices"
    assert {"pg_sleep", "pg_Read", "lo_import"} <= set(read(text).functions)


def test_arguments_are_bound_in_their_places() -> None:
    config: dict[str, Any] = {
        "statement": "SELECT '{a}' FROM invoices WHERE x = {who} OR y = {who} LIMIT {n} -- {b}",
        "tables": ["invoices"],
    }
    found = plain.statement(config, {"who": "x' OR true --", "n": 3, "sql": "DROP TABLE invoices"})
    assert found.text == "SELECT '{a}' FROM invoices WHERE x = $1 OR y = $1 LIMIT $2 -- {b}"
    assert found.parameters == ("x' OR true --", 3)


def test_a_missing_argument_is_said() -> None:
    with pytest.raises(NotPlain, match="needs the argument `who`"):
        plain.statement({"statement": "SELECT {who}"}, {})


@given(st.text(alphabet="SELECT()'\"$-/*;,{}\\ \n01aeu&x", max_size=60))
def test_whatever_the_text_it_is_understood_or_refused(text: str) -> None:
    try:
        assert read(text).text == text
    except NotPlain as refused:
        assert str(refused)
