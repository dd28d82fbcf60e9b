"""What a role of a grant reaches: its tables, columns, operations and rows, and nothing through PUBLIC."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from agentsec_site.embedded import Services
from policies import sqltext, worldfile
from policies.issuers import IssuerFailed, postgres_scope
from policies.issuers.postgres_scope import Scope
from tests import billing
from tests.granted import role

Connection = psycopg.Connection[Any]
Denied = psycopg.errors.InsufficientPrivilege
ALL = ["select", "insert", "update", "delete"]


@pytest.fixture(scope="module")
def issuer(billing_url: str) -> Iterator[Connection]:
    with psycopg.connect(billing_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def admin(services: Services, billing_url: str) -> Iterator[Connection]:
    with psycopg.connect(billing.billing_admin(services), autocommit=True) as connection:
        yield connection


def tried(connection: Connection, statement: str) -> str:
    """ok, or the kind of refusal; nothing of it stays."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("SET TRANSACTION READ WRITE")
            connection.execute(statement)
    except psycopg.Error as error:
        return type(error).__name__
    return "ok"


STATEMENTS = {
    "read": "SELECT id, amount FROM invoices",
    "read all": "SELECT * FROM invoices",
    "add": "INSERT INTO invoices (id, amount) VALUES (9, 1)",
    "change": "UPDATE invoices SET amount = 1 WHERE id = 1",
    "rename": "UPDATE invoices SET customer = 'x' WHERE id = 1",
    "delete": "DELETE FROM invoices WHERE id = 1",
    "empty": "TRUNCATE invoices",
    "other": "SELECT * FROM salaries",
    "make": "CREATE TABLE mine (id int)",
    "temporary": "CREATE TEMPORARY TABLE mine (id int)",
    "become": f"SET ROLE {billing.ISSUER}",
    "program": "COPY (SELECT 1) TO PROGRAM 'true'",
    "file": "SELECT pg_read_file('/etc/passwd')",
    "roles": "SELECT * FROM pg_authid",
}


@pytest.mark.parametrize(
    ("config", "allowed"),
    [
        ({}, {"read", "read all"}),
        ({"columns": ["id", "amount"]}, {"read"}),
        ({"operations": ALL}, {"read", "read all", "add", "change", "rename", "delete"}),
        ({"operations": ["select", "update"], "columns": ["id", "amount"]}, {"read", "change"}),
        ({"operations": ["insert"], "columns": ["id", "amount"]}, {"add"}),
        ({"tables": ["invoices", "salaries"], "statement": "SELECT 1"}, {"read", "read all", "other"}),
    ],
    ids=["read", "columns", "everything", "change columns", "only add", "two tables"],
)
def test_it_may_what_was_granted_and_nothing_else(
    issuer: Connection, billing_url: str, config: dict[str, Any], allowed: set[str]
) -> None:
    with role(issuer, billing_url, **config) as connection:
        outcome = {name: tried(connection, statement) for name, statement in STATEMENTS.items()}
    assert {name for name, said in outcome.items() if said == "ok"} == allowed
    assert {outcome[name] for name in outcome.keys() - allowed} == {"InsufficientPrivilege"}


HOLES = {
    "another table": ("GRANT SELECT ON salaries TO PUBLIC", "REVOKE ALL ON salaries FROM PUBLIC", "salaries"),
    "a column elsewhere": ("GRANT SELECT (amount) ON salaries TO PUBLIC",
                           "REVOKE ALL (amount) ON salaries FROM PUBLIC", "salaries"),
    "more on the table": ("GRANT UPDATE (amount) ON invoices TO PUBLIC",
                          "REVOKE ALL (amount) ON invoices FROM PUBLIC", "UPDATE on the column amount"),
    "emptying it": ("GRANT TRUNCATE ON invoices TO PUBLIC", "REVOKE ALL ON invoices FROM PUBLIC", "TRUNCATE"),
    "a view": ("CREATE VIEW pay AS SELECT * FROM salaries; GRANT SELECT ON pay TO PUBLIC", "DROP VIEW pay",
               "pay"),
    "its owner's rights": ("CREATE FUNCTION peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS "
                           "'SELECT count(*) FROM salaries'", "DROP FUNCTION peek()", r"peek\(\)"),
    "the server's own code": ("CREATE FUNCTION leave() RETURNS int LANGUAGE internal AS 'pg_backend_pid'",
                              "DROP FUNCTION leave()", r"leave\(\)"),
    "making tables": ("GRANT CREATE ON SCHEMA public TO PUBLIC", "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
                      "CREATE in schema public"),
    "temporary tables": ("GRANT TEMPORARY ON DATABASE billing TO PUBLIC",
                         "REVOKE TEMPORARY ON DATABASE billing FROM PUBLIC", "temporary tables"),
    "another database": ("GRANT CONNECT ON DATABASE postgres TO PUBLIC",
                         "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC", "the database postgres"),
    "a sequence": ("CREATE SEQUENCE counter; GRANT USAGE ON SEQUENCE counter TO PUBLIC",
                   "DROP SEQUENCE counter", "the sequence public.counter"),
    "a large object": ("SELECT lo_create(4711); GRANT SELECT ON LARGE OBJECT 4711 TO PUBLIC",
                       "SELECT lo_unlink(4711)", "the large object 4711"),
    "a foreign server": ("CREATE FOREIGN DATA WRAPPER far; CREATE SERVER away FOREIGN DATA WRAPPER far; "
                         "GRANT USAGE ON FOREIGN SERVER away TO PUBLIC",
                         "DROP FOREIGN DATA WRAPPER far CASCADE", "the foreign server away"),
    "a foreign-data wrapper": ("CREATE FOREIGN DATA WRAPPER far; "
                               "GRANT USAGE ON FOREIGN DATA WRAPPER far TO PUBLIC",
                               "DROP FOREIGN DATA WRAPPER far", "the foreign-data wrapper far"),
    "a setting": ("GRANT SET ON PARAMETER session_preload_libraries TO PUBLIC",
                  "REVOKE SET ON PARAMETER session_preload_libraries FROM PUBLIC", "preload_libraries"),
}  # fmt: skip


@pytest.mark.parametrize("hole", HOLES)
def test_a_role_that_would_reach_more_through_public_is_not_made(
    issuer: Connection, admin: Connection, billing_url: str, hole: str
) -> None:
    opened, closed, told = HOLES[hole]
    admin.execute(opened)
    try:
        with pytest.raises(IssuerFailed, match=told), role(issuer, billing_url):
            pass
    finally:
        admin.execute(closed)
    assert admin.execute("SELECT 1 FROM pg_roles WHERE rolname LIKE 'agentsec_g_%'").fetchall() == []


def test_more_than_the_issuing_role_may_give_on_is_not_granted(issuer: Connection, billing_url: str) -> None:
    with pytest.raises(IssuerFailed, match="no UPDATE WITH GRANT OPTION on public.salaries"):  # noqa: SIM117
        with role(issuer, billing_url, tables=["salaries"], operations=["select", "update"]):
            pass


ROWS: dict[str, Any] = {"rows": "customer = {customer}", "operations": ALL}


def test_of_the_rows_it_reaches_only_those_of_the_condition(issuer: Connection, billing_url: str) -> None:
    with role(issuer, billing_url, {"customer": "Acme"}, **ROWS) as connection:
        assert connection.execute("SELECT customer FROM invoices").fetchall() == [("Acme",)]
        assert connection.execute("UPDATE invoices SET amount = amount WHERE id = 2").rowcount == 0
        assert connection.execute("DELETE FROM invoices WHERE id = 2").rowcount == 0


@pytest.mark.parametrize(
    ("statement", "refusal"),
    [
        ("UPDATE invoices SET customer = 'Globex'", psycopg.errors.WithCheckOptionViolation),
        ("INSERT INTO invoices VALUES (9, 'Globex', 1)", psycopg.errors.WithCheckOptionViolation),
        ("SELECT * FROM public.invoices", Denied),
        ("ALTER VIEW invoices SET (security_barrier = off)", Denied),
    ],
)
def test_no_way_leads_round_the_condition(
    issuer: Connection, billing_url: str, statement: str, refusal: type[psycopg.Error]
) -> None:
    with role(issuer, billing_url, {"customer": "Acme"}, **ROWS) as connection, pytest.raises(refusal):
        connection.execute(statement)


@pytest.mark.parametrize(
    "value",
    ["x' OR '1' = '1", "\\' OR true --", "{customer}", "'; DROP TABLE invoices; --", "%s", "$1", "\\"],
)
def test_a_value_never_becomes_a_part_of_the_condition(
    issuer: Connection, billing_url: str, value: str
) -> None:
    with role(issuer, billing_url, {"customer": value}, **ROWS) as connection:
        assert connection.execute("SELECT * FROM invoices").fetchall() == []


def test_who_may_add_rows_may_use_what_numbers_them_and_no_more(
    issuer: Connection, admin: Connection, billing_url: str
) -> None:
    admin.execute("CREATE TABLE notes (id serial, customer text)")
    admin.execute(f"GRANT SELECT, INSERT ON notes TO {billing.ISSUER} WITH GRANT OPTION")
    admin.execute(f"GRANT USAGE ON SEQUENCE notes_id_seq TO {billing.ISSUER} WITH GRANT OPTION")
    config: dict[str, Any] = {"tables": ["notes"], "rows": "customer = {customer}"}
    try:
        with role(
            issuer, billing_url, {"customer": "Acme"}, operations=["select", "insert"], **config
        ) as opened:
            opened.execute("INSERT INTO notes (customer) VALUES ('Acme')")
            assert opened.execute("SELECT * FROM notes").fetchall() == [(1, "Acme")]
            with pytest.raises(Denied):
                opened.execute("SELECT setval('public.notes_id_seq', 900)")
        with role(issuer, billing_url, {"customer": "Acme"}, **config) as opened, pytest.raises(Denied):
            opened.execute("SELECT nextval('public.notes_id_seq')")
    finally:
        admin.execute("DROP TABLE notes CASCADE")


def test_of_a_table_of_which_it_has_some_columns_the_issuing_role_gives_those(
    issuer: Connection, admin: Connection, billing_url: str
) -> None:
    admin.execute("CREATE TABLE partly (open int, closed int)")
    admin.execute(f"GRANT SELECT (open), UPDATE (open) ON partly TO {billing.ISSUER} WITH GRANT OPTION")
    config = {"tables": ["partly"], "columns": ["open"], "operations": ["select", "update"]}
    try:
        with role(issuer, billing_url, **config) as opened:
            opened.execute("UPDATE partly SET open = 1 WHERE open = 2")
            with pytest.raises(Denied):
                opened.execute("SELECT closed FROM partly")
    finally:
        admin.execute("DROP TABLE partly")
    assert admin.execute("SELECT 1 FROM pg_roles WHERE rolname LIKE 'agentsec_g_%'").fetchall() == []


@pytest.mark.parametrize("value", [None, ["Acme"], {"a": 1}])
def test_without_a_plain_value_no_rows_are_granted(value: Any) -> None:
    with pytest.raises(IssuerFailed, match="depends on the argument `customer`"):
        scope({"customer": value}, tables=["invoices"], rows="customer = {customer}")


def scope(args: dict[str, Any], **config: Any) -> Scope:
    return postgres_scope.scope(grant_id=uuid4(), config=config, args=args)


def test_a_call_that_names_none_of_several_tables_gets_none() -> None:
    with pytest.raises(IssuerFailed, match="may grant invoices, salaries, not nothing"):
        scope({}, tables=["invoices", "salaries"])


def test_a_scope_survives_being_stored() -> None:
    made = scope({"customer": "Acme", "sql": ""}, tables=["a", "b.c"], columns={"a": ["x"]},
                 rows={"b.c": "y = {customer}"}, operations=["select", "delete"])  # fmt: skip
    assert Scope.from_json(made.to_json()) == made


def test_a_grant_from_before_is_still_understood() -> None:
    old = {"source": "s", "role": "r", "schema": "public", "table": "invoices", "privileges": ["SELECT"]}
    assert [table.name for table in Scope.from_json(old).tables] == ["public.invoices"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("rows: 'a = {x}) OR (true'", "rows: it must be one condition"),
        ("rows: 'a = {x} -- all'", "rows: a condition holds no comment"),
        ("rows: \"a = '{x}'\"", "rows: {x} stands in quotes"),
        ("rows: 'a = {who}'", "rows: 'who' is no parameter of the tool"),
        ("rows: {salaries: 'a = {x}'}", "rows: 'salaries' is none of the tool's tables"),
        ("columns: {salaries: [a]}", "columns: 'salaries' is none of the tool's tables"),
        ("operations: [truncate]", "operations[0]: 'truncate' is not one of"),
        ("statement: \"SELECT '{x}'\"", "statement: {x} stands in quotes"),
        ("statement: 'SELECT {who}'", "statement: 'who' is no parameter of the tool"),
        ('statement: "SELECT \'x"', "statement: a ' is opened and never closed"),
    ],
)
def test_a_world_file_with_a_mistake_in_it_is_refused(fields: str, said: str) -> None:
    text = (
        "tools:\n  - name: t\n    runs: sql\n    tables: [invoices]\n"
        f"    parameters: {{type: object, properties: {{x: {{type: string}}}}}}\n    {fields}\n"
    )
    assert [fault for fault in map(str, worldfile.read(text).faults) if said in fault]


def test_places_are_found_outside_of_quotes_and_comments_only() -> None:
    text = "E'\\'{a}' {b} $$ {c} $$ $t${d}$t$ \"{e}\" -- {f}\n{g} /* /* {h} */ {i} */ U&'{j}' {k}"
    assert sqltext.places(text) == ("b", "g", "k")
    assert "".join(piece.text for piece in sqltext.pieces(text)) == text
