"""The statements that make a role for one grant, and that take it away with all it left.

A table of which only some rows are granted is granted as a view with `security_barrier` in a schema of the
grant's own, which comes first in the role's search path. Row-level security would do too, but it belongs to
the table's owner and changes the table for everybody; a view is the issuing role's own and goes with the
grant.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql

from policies import sqltext
from policies.issuers.base import IssuerFailed
from policies.issuers.postgres_reach import sequences_of
from policies.issuers.postgres_scope import BY_COLUMN, Granted, Scope

Connection = psycopg.Connection[Any]
CONNECTIONS = 3
TERMINATE_SECONDS = 5.0
# What a role holds on relations and on columns of them, "" for the whole: schema, name, privilege, column.
HELD = """
SELECT n.nspname, c.relname, a.privilege_type, '', c.relkind = 'S' FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) a WHERE a.grantee = %(role)s::regrole
UNION ALL SELECT n.nspname, c.relname, a.privilege_type, t.attname, false FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute t ON t.attrelid = c.oid,
aclexplode(t.attacl) a WHERE a.grantee = %(role)s::regrole"""
SETTINGS = (
    "statement_timeout = '60s'",
    "lock_timeout = '10s'",
    "idle_in_transaction_session_timeout = '60s'",
)


def create(connection: Connection, scope: Scope, password: str, until: str) -> Mapping[str, tuple[str, str]]:
    """Make the role with its privileges, in the caller's transaction; what stands for each table."""
    role = sql.Identifier(scope.role)
    # Scrambled on our side: the password itself reaches neither the statement nor the server's log.
    verifier = connection.pgconn.encrypt_password(
        password.encode(), scope.role.encode(), b"scram-sha-256"
    ).decode()
    options = sql.SQL(
        "CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS "
        "CONNECTION LIMIT {} PASSWORD {} VALID UNTIL {}"
    )
    connection.execute(options.format(role, sql.Literal(CONNECTIONS), verifier, until))
    # Without membership the issuing role could not terminate what the role has opened.
    connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(role))
    read_only = () if scope.writes else ("default_transaction_read_only = on",)
    for setting in (*SETTINGS, *read_only):
        connection.execute(sql.SQL("ALTER ROLE {} SET " + setting).format(role))
    _give(connection, scope, sql.SQL("CONNECT ON DATABASE {}").format(sql.Identifier(connection.info.dbname)))
    if scope.views:
        _make_schema(connection, scope)
    return {table.name: _grant(connection, scope, table) for table in scope.tables}


def _make_schema(connection: Connection, scope: Scope) -> None:
    name, role = sql.Identifier(scope.views), sql.Identifier(scope.role)
    connection.execute(sql.SQL("CREATE SCHEMA {}").format(name))
    connection.execute(sql.SQL("ALTER ROLE {} SET search_path = {}, public").format(role, name))
    _give(connection, scope, sql.SQL("USAGE ON SCHEMA {}").format(name))


def _grant(connection: Connection, scope: Scope, table: Granted) -> tuple[str, str]:
    place = (table.schema, table.table)
    if table.rows:
        place = (scope.views, table.table)
        _make_view(connection, scope, table)
    else:
        _give(connection, scope, sql.SQL("USAGE ON SCHEMA {}").format(sql.Identifier(table.schema)))
    for operation in table.operations:
        columns: sql.Composable = sql.SQL("")
        if table.columns and operation in BY_COLUMN:
            columns = sql.SQL(" ({})").format(sql.SQL(", ").join(map(sql.Identifier, table.columns)))
        what = sql.SQL(operation.upper()) + columns
        _give(connection, scope, what + sql.SQL(" ON {}").format(sql.Identifier(*place)))
    for _, schema, name in sequences_of(connection, table):
        _give(connection, scope, sql.SQL("USAGE ON SEQUENCE {}").format(sql.Identifier(schema, name)))
        _give(connection, scope, sql.SQL("USAGE ON SCHEMA {}").format(sql.Identifier(schema)))
    return place


def _make_view(connection: Connection, scope: Scope, table: Granted) -> None:
    """The rows that meet the condition, and no way to write one that does not."""
    chosen = sql.SQL(", ").join(map(sql.Identifier, table.columns)) if table.columns else sql.SQL("*")
    checked = sql.SQL(" WITH CASCADED CHECK OPTION" if set(table.operations) - {"select"} else "")
    statement = sql.SQL("CREATE VIEW {} WITH (security_barrier) AS SELECT {} FROM {} WHERE (\n{}\n)").format(
        sql.Identifier(scope.views, table.table), chosen, sql.Identifier(table.schema, table.table),
        condition(table, scope.bound, connection),
    )  # fmt: skip
    connection.execute(statement + checked)


def condition(table: Granted, bound: Mapping[str, Any], connection: Connection) -> sql.SQL:
    """The tool's own condition with the call's values as literals, each quoted by the driver."""
    values = {name: f" {sql.Literal(value).as_string(connection)} " for name, value in bound.items()}
    return sql.SQL(sqltext.filled(table.rows, values.__getitem__))


def _give(connection: Connection, scope: Scope, what: sql.Composable) -> None:
    connection.execute(sql.SQL("GRANT ") + what + sql.SQL(" TO {}").format(sql.Identifier(scope.role)))


def exists(connection: Connection, role: str) -> bool:
    return connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone() is not None


def lock_out(connection: Connection, role: str) -> None:
    statement = sql.SQL("ALTER ROLE {} NOLOGIN CONNECTION LIMIT 0 VALID UNTIL '-infinity'")
    connection.execute(statement.format(sql.Identifier(role)))


def terminate(connection: Connection, role: str) -> None:
    """Ends each session of the role and waits until the server has really dropped them."""
    until = time.monotonic() + TERMINATE_SECONDS
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"
    while connection.execute(query, [role]).fetchall():
        if time.monotonic() > until:
            raise IssuerFailed(f"sessions of {role} do not end")
        time.sleep(0.02)


def drop(connection: Connection, scope: Scope) -> None:
    """The role with its privileges and whatever its holder made with it, and the grant's own views."""
    role = sql.Identifier(scope.role)
    with connection.transaction():
        _revoke(connection, role)
        # A role that owns nothing still blocks DROP ROLE while it holds privileges: this revokes them, and
        # takes what it made all the same (anybody may make a large object).
        connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
        # Its own name: the schema is only ever the grant's.
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(role))
        connection.execute(sql.SQL("DROP ROLE {}").format(role))


def _revoke(connection: Connection, role: sql.Identifier) -> None:
    """One by one: DROP OWNED revokes all at once, which the server refuses to an issuing role that may give
    on some columns only, or a sequence's USAGE alone.
    """
    for schema, name, privilege, column, sequence in connection.execute(
        HELD, {"role": role.as_string(connection)}
    ).fetchall():
        what: sql.Composable = sql.SQL(privilege)
        if column:
            what += sql.SQL(" ({})").format(sql.Identifier(column))
        kind = sql.SQL(" ON SEQUENCE " if sequence else " ON ")
        place = kind + sql.Identifier(schema, name) + sql.SQL(" FROM ") + role
        connection.execute(sql.SQL("REVOKE ") + what + place)
