"""Issuer `postgres`: a real role for one grant, SELECT on exactly the granted table, gone afterwards.

The tool's config names `source`, a secret that holds the address of an issuing role (CREATEROLE, and SELECT
WITH GRANT OPTION on the tables), and `tables`, the only ones it may ever grant. The call names one of them.

Traps this file knows: an expired VALID UNTIL stops new logins only, so open sessions are terminated; what
PUBLIC may do every role may do, so a new role that reaches more than its table is refused; a role that owns
nothing still blocks DROP ROLE while it holds privileges, so each is revoked first.
"""

from __future__ import annotations

import secrets as randomness
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from django.conf import settings
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from policies import secrets
from policies.issuers.base import Issued, Issuer, IssuerFailed

CONNECTIONS = 3
TERMINATE_SECONDS = 5.0
# Relations outside the catalogues on which the role could do anything at all, and by which privilege.
REACH_TABLES = """
SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND n.nspname !~ '^pg_(toast|temp)' AND has_schema_privilege(%(role)s, n.oid, 'USAGE')
  AND (has_any_column_privilege(%(role)s, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
       OR has_table_privilege(%(role)s, c.oid, 'DELETE, TRUNCATE, TRIGGER'))
  AND NOT (n.nspname = %(schema)s AND c.relname = %(table)s)
"""
REACH_MORE_ON_TABLE = """
SELECT 'writing to the table itself' WHERE has_any_column_privilege(%(role)s, %(oid)s::regclass, 'INSERT,
UPDATE')
  OR has_table_privilege(%(role)s, %(oid)s::regclass, 'DELETE, TRUNCATE, TRIGGER')
"""
REACH_FUNCTIONS = """
SELECT n.nspname || '.' || p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.prosecdef AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND has_schema_privilege(%(role)s, n.oid, 'USAGE') AND has_function_privilege(%(role)s, p.oid, 'EXECUTE')
"""
REACH_SCHEMAS = """
SELECT 'CREATE in schema ' || nspname FROM pg_namespace
WHERE nspname !~ '^pg_' AND has_schema_privilege(%(role)s, oid, 'CREATE')
"""
REACH_OWN_DATABASE = """
SELECT 'the database ' || datname FROM pg_database
WHERE datname = %(own)s AND datname <> current_database() AND has_database_privilege(%(role)s, oid, 'CONNECT')
"""


class _Postgres:
    def scope(self, *, grant_id: UUID, config: Mapping[str, Any], args: Mapping[str, Any]) -> dict[str, Any]:
        table = str(args.get("table", ""))
        allowed = [str(name) for name in config.get("tables", [])]
        schema, _, name = _qualified(table).partition(".")
        if f"{schema}.{name}" not in {_qualified(item) for item in allowed}:
            raise IssuerFailed(
                f"this tool may grant {', '.join(allowed) or 'no table'}, not {table or 'nothing'}"
            )
        return {
            "source": str(config.get("source", "")),
            "role": f"agentsec_g_{grant_id.hex}",
            "schema": schema,
            "table": name,
            "privileges": ["SELECT"],
        }

    def issue(self, *, scope: Mapping[str, Any], expires_at: datetime) -> Issued:
        password = randomness.token_urlsafe(32)
        with _issuing(scope) as connection:
            try:
                with connection.transaction():
                    _create(connection, scope, password, expires_at)
                    _refuse_reach(connection, scope)
            except psycopg.Error as error:
                raise IssuerFailed(f"the role could not be made: {_reason(error)}") from None
            return _issued(connection, scope, password, expires_at)

    def revoke(self, *, scope: Mapping[str, Any]) -> None:
        # The reaper may be ending the same role this moment; whoever comes second finds it gone.
        for _ in range(3):
            try:
                return self._revoke(scope)
            except IssuerFailed as error:
                failed = error
                time.sleep(0.2)
        raise failed

    def _revoke(self, scope: Mapping[str, Any]) -> None:
        with _issuing(scope) as connection:
            try:
                if _exists(connection, scope["role"]):
                    _lock_out(connection, scope["role"])
                    _terminate(connection, scope["role"])
                    _drop(connection, scope)
            except psycopg.Error as error:
                raise IssuerFailed(f"the role could not be dropped: {_reason(error)}") from None


ISSUER: Issuer = _Postgres()


def _qualified(table: str) -> str:
    return table if "." in table else f"public.{table}"


def _reason(error: psycopg.Error) -> str:
    return (error.diag.message_primary or type(error).__name__).splitlines()[0]


@contextmanager
def _issuing(scope: Mapping[str, Any]) -> Iterator[psycopg.Connection[Any]]:
    """A connection as the issuing role, in autocommit; while an address overlaps with the one before, by the
    first of them that the server takes.
    """
    failed = ""
    for address in secrets.usable(str(scope["source"])):
        try:
            connection = psycopg.connect(
                address, autocommit=True, connect_timeout=5, application_name="agentsec issuer"
            )
        except psycopg.Error as error:
            failed = type(error).__name__
            continue
        with connection:
            yield connection
        return
    raise IssuerFailed(f"the database of “{scope['source']}” cannot be reached ({failed})")


def _create(
    connection: psycopg.Connection[Any], scope: Mapping[str, Any], password: str, expires_at: datetime
) -> None:
    role = sql.Identifier(scope["role"])
    # Scrambled on our side: the password itself reaches neither the statement nor the server's log.
    verifier = connection.pgconn.encrypt_password(
        password.encode(), scope["role"].encode(), b"scram-sha-256"
    ).decode()
    options = sql.SQL(
        "CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS "
        "CONNECTION LIMIT {} PASSWORD {} VALID UNTIL {}"
    )
    connection.execute(options.format(role, sql.Literal(CONNECTIONS), verifier, expires_at.isoformat()))
    # Without membership the issuing role could not terminate what the role has opened.
    connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(role))
    for setting in ("default_transaction_read_only = on", "statement_timeout = '60s'"):
        connection.execute(sql.SQL("ALTER ROLE {} SET " + setting).format(role))
    for grant in _privileges(connection, scope):
        connection.execute(sql.SQL("GRANT ") + grant + sql.SQL(" TO {}").format(role))


def _privileges(connection: psycopg.Connection[Any], scope: Mapping[str, Any]) -> list[sql.Composed]:
    return [
        sql.SQL("CONNECT ON DATABASE {}").format(sql.Identifier(connection.info.dbname)),
        sql.SQL("USAGE ON SCHEMA {}").format(sql.Identifier(scope["schema"])),
        sql.SQL("SELECT ON {}").format(sql.Identifier(scope["schema"], scope["table"])),
    ]


def _refuse_reach(connection: psycopg.Connection[Any], scope: Mapping[str, Any]) -> None:
    """Fails, inside the transaction that made the role, if the role can do more than was granted."""
    values = {
        "role": scope["role"],
        "schema": scope["schema"],
        "table": scope["table"],
        "oid": sql.Identifier(scope["schema"], scope["table"]).as_string(connection),
        "own": settings.DATABASES["default"]["NAME"],
    }
    for query in (REACH_TABLES, REACH_MORE_ON_TABLE, REACH_FUNCTIONS, REACH_SCHEMAS, REACH_OWN_DATABASE):
        found = [row[0] for row in connection.execute(query, values).fetchall()]
        if found:
            raise IssuerFailed(f"the role would reach more than {scope['table']}: {', '.join(found[:5])}")
    readable = connection.execute(
        "SELECT has_table_privilege(%(role)s, %(oid)s::regclass, 'SELECT')", values
    ).fetchone()
    if readable is None or readable[0] is not True:
        raise IssuerFailed(f"the issuing role holds no SELECT WITH GRANT OPTION on {scope['table']}")


def _issued(
    connection: psycopg.Connection[Any], scope: Mapping[str, Any], password: str, expires_at: datetime
) -> Issued:
    address = conninfo_to_dict(connection.info.dsn)
    public = {
        "host": address.get("host") or connection.info.host,
        "port": connection.info.port,
        "database": connection.info.dbname,
        "username": scope["role"],
        "table": f"{scope['schema']}.{scope['table']}",
        "expires_at": expires_at.isoformat(),
    }
    return Issued(public=public, private={"password": password})


def _exists(connection: psycopg.Connection[Any], role: str) -> bool:
    return connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone() is not None


def _lock_out(connection: psycopg.Connection[Any], role: str) -> None:
    statement = sql.SQL("ALTER ROLE {} NOLOGIN CONNECTION LIMIT 0 VALID UNTIL '-infinity'")
    connection.execute(statement.format(sql.Identifier(role)))


def _terminate(connection: psycopg.Connection[Any], role: str) -> None:
    """Ends each session of the role and waits until the server has really dropped them."""
    until = time.monotonic() + TERMINATE_SECONDS
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"
    while connection.execute(query, [role]).fetchall():
        if time.monotonic() > until:
            raise IssuerFailed(f"sessions of {role} do not end")
        time.sleep(0.02)


def _drop(connection: psycopg.Connection[Any], scope: Mapping[str, Any]) -> None:
    role = sql.Identifier(scope["role"])
    with connection.transaction():
        for privilege in _privileges(connection, scope):
            # A table that was dropped meanwhile has taken its privileges along.
            with _tolerating_missing_table(connection):
                connection.execute(sql.SQL("REVOKE ") + privilege + sql.SQL(" FROM {}").format(role))
        # Whatever its holder made all the same (anybody may make a large object) would keep the role there.
        connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
        connection.execute(sql.SQL("DROP ROLE {}").format(role))


@contextmanager
def _tolerating_missing_table(connection: psycopg.Connection[Any]) -> Iterator[None]:
    try:
        with connection.transaction():
            yield
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return
