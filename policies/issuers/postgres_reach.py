"""What a new role of PostgreSQL can reach, held against what was granted; anything more is named.

What PUBLIC may do every role may do. So inside the transaction that made the role the server itself is asked
(PostgreSQL manual, "System Information Functions", access privilege inquiry) about everything that has
privileges; the caller gives up the transaction where something is found.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from django.conf import settings

from policies.issuers.base import IssuerFailed
from policies.issuers.postgres_scope import BY_COLUMN, Granted, Scope

Connection = psycopg.Connection[Any]
SHOWN = 5
# Each tells, by name, what the role reaches beside the relations in %(granted)s.
ELSEWHERE: Mapping[str, str] = {
    "tables": """
SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND n.nspname !~ '^pg_(toast|temp)' AND has_schema_privilege(%(role)s, n.oid, 'USAGE')
  AND (has_any_column_privilege(%(role)s, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
       OR has_table_privilege(%(role)s, c.oid, 'DELETE, TRUNCATE, TRIGGER'))
  AND c.oid <> ALL (%(granted)s::oid[])""",
    "sequences": """
SELECT 'the sequence ' || n.nspname || '.' || c.relname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(%(role)s, c.oid, 'USAGE, SELECT, UPDATE') END
  AND has_schema_privilege(%(role)s, n.oid, 'USAGE') AND c.oid <> ALL (%(sequences)s::oid[])""",
    "functions with their owner's rights": """
SELECT n.nspname || '.' || p.proname || '()' FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.prosecdef AND has_schema_privilege(%(role)s, n.oid, 'USAGE')
  AND has_function_privilege(%(role)s, p.oid, 'EXECUTE')""",
    # Whatever such code does, it does as the server: files, programs, other hosts.
    "functions outside of the server's own rules": """
SELECT n.nspname || '.' || p.proname || '()' FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
JOIN pg_language l ON l.oid = p.prolang
WHERE NOT l.lanpltrusted AND l.lanname <> 'sql' AND p.provolatile = 'v' AND n.nspname <> 'pg_catalog'
  AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
  AND p.proargtypes[0] IS DISTINCT FROM 'internal'::regtype
  AND has_schema_privilege(%(role)s, n.oid, 'USAGE') AND has_function_privilege(%(role)s, p.oid, 'EXECUTE')
  AND NOT EXISTS (
    SELECT 1 FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
    JOIN pg_available_extension_versions v ON v.name = e.extname AND v.version = e.extversion
    WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
      AND d.refclassid = 'pg_extension'::regclass AND v.trusted)""",
    "schemas": """
SELECT 'CREATE in schema ' || nspname FROM pg_namespace
WHERE nspname !~ '^pg_' AND has_schema_privilege(%(role)s, oid, 'CREATE')""",
    "this database": """
SELECT 'making ' || what || ' in this database (REVOKE ALL ON DATABASE … FROM PUBLIC)'
FROM (VALUES ('CREATE', 'schemas'), ('TEMPORARY', 'temporary tables')) AS f (privilege, what)
WHERE has_database_privilege(%(role)s, current_database(), privilege)""",
    "other databases": """
SELECT 'the database ' || datname || ' (REVOKE CONNECT ON DATABASE … FROM PUBLIC)' FROM pg_database
WHERE datallowconn AND datname <> current_database() AND has_database_privilege(%(role)s, oid, 'CONNECT')""",
    "large objects": """
SELECT 'the large object ' || m.oid FROM pg_largeobject_metadata m, aclexplode(m.lomacl) a
WHERE a.grantee = 0 LIMIT 5""",
    "all large objects": """
SELECT 'every large object (lo_compat_privileges)' WHERE current_setting('lo_compat_privileges')::bool""",
    "foreign servers": """
SELECT 'the foreign server ' || srvname FROM pg_foreign_server
WHERE has_server_privilege(%(role)s, oid, 'USAGE')""",
    "foreign data wrappers": """
SELECT 'the foreign-data wrapper ' || fdwname FROM pg_foreign_data_wrapper
WHERE has_foreign_data_wrapper_privilege(%(role)s, oid, 'USAGE')""",
    "tablespaces": """
SELECT 'the tablespace ' || spcname FROM pg_tablespace
WHERE spcname !~ '^pg_' AND has_tablespace_privilege(%(role)s, oid, 'CREATE')""",
    "roles": """
SELECT 'the role ' || r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
JOIN pg_roles me ON me.oid = m.member WHERE me.rolname = %(role)s""",
}
PARAMETERS = """
SELECT 'the setting ' || p.parname FROM pg_parameter_acl p, aclexplode(p.paracl) a WHERE a.grantee = 0"""
OWN_TABLES = """
SELECT 1 FROM pg_class
WHERE relname IN ('traces_entry', 'policies_secret', 'approvals_action') AND relkind = 'r'
HAVING count(*) = 3"""
HELD_COLUMNS = """
SELECT a.attname, lower(p.privilege) FROM pg_attribute a
CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS p (privilege)
WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped
  AND has_column_privilege(%(role)s, a.attrelid, a.attnum, p.privilege)"""
HELD_TABLE = """
SELECT lower(p.privilege) FROM unnest(%(privileges)s::text[]) AS p (privilege)
WHERE has_table_privilege(%(role)s, %(oid)s::oid, p.privilege)"""
COLUMNS = "SELECT attname FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped"


def refuse_own_database(connection: Connection) -> None:
    """No role is ever made in the database that holds agentsec itself. Raises IssuerFailed."""
    own = settings.DATABASES["default"]["NAME"]
    if connection.execute(OWN_TABLES).fetchone() is not None:
        raise IssuerFailed(f"{connection.info.dbname} is a database of agentsec itself ({own}): name another")


def refuse(connection: Connection, scope: Scope, held: Mapping[str, tuple[str, str]]) -> None:
    """Fails, inside the transaction that made the role, if it can do more than was granted, or less.

    `held` says for each table of the scope which relation stands for it. Raises IssuerFailed.
    """
    oids = {name: _oid(connection, *place) for name, place in held.items()}
    _refuse_elsewhere(connection, scope, list(oids.values()))
    for table in scope.tables:
        _refuse_inexact(connection, scope, table, oids[table.name])


def _refuse_elsewhere(connection: Connection, scope: Scope, granted: list[int]) -> None:
    sequences = [oid for table in scope.tables for oid, *_ in sequences_of(connection, table)]
    values = {"role": scope.role, "granted": granted, "sequences": sequences}
    queries = [*ELSEWHERE.values(), *([PARAMETERS] if connection.info.server_version >= 150000 else [])]
    found = [row[0] for query in queries for row in connection.execute(query, values).fetchall()]
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise IssuerFailed(f"the role would reach more than {scope.told}: {', '.join(found[:SHOWN])}{more}")


def _refuse_inexact(connection: Connection, scope: Scope, table: Granted, oid: int) -> None:
    """The privileges on one granted relation, column by column, must be those of the grant."""
    columns = [row[0] for row in connection.execute(COLUMNS, [oid]).fetchall()]
    wanted = {(column, what) for column in table.columns or columns for what in table.operations}
    wanted = {(column, what) for column, what in wanted if what in BY_COLUMN}
    wanted |= {("", "delete")} & {("", what) for what in table.operations}
    values = {"role": scope.role, "oid": oid, "privileges": _whole(connection)}
    has = set(connection.execute(HELD_COLUMNS, values).fetchall())
    has |= {("", row[0]) for row in connection.execute(HELD_TABLE, values).fetchall()}
    if more := sorted(has - wanted):
        raise IssuerFailed(f"the role would reach more than {scope.told}: {_said(more[0])} of {table.name}")
    if less := sorted(wanted - has):
        what = less[0][1].upper()
        raise IssuerFailed(f"the issuing role holds no {what} WITH GRANT OPTION on {table.name}")


def _whole(connection: Connection) -> list[str]:
    """Privileges of whole tables."""
    newer = ["MAINTAIN"] if connection.info.server_version >= 170000 else []
    return ["DELETE", "TRUNCATE", "TRIGGER", *newer]


def _said(privilege: tuple[str, str]) -> str:
    column, what = privilege
    return f"{what.upper()} on the column {column}" if column else what.upper()


def _oid(connection: Connection, schema: str, name: str) -> int:
    row = connection.execute(
        "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'v', 'm', 'f', 'p')", [schema, name],
    ).fetchone()  # fmt: skip
    if row is None:
        raise IssuerFailed(f"there is no table {schema}.{name} in {connection.info.dbname}")
    return int(row[0])


def sequences_of(connection: Connection, table: Granted) -> list[tuple[int, str, str]]:
    """The sequences that give a table's serial columns their values, where rows may be added to it."""
    if "insert" not in table.operations:
        return []
    return connection.execute(
        "SELECT s.oid, n.nspname, s.relname FROM pg_depend d JOIN pg_class s ON s.oid = d.objid "
        "AND s.relkind = 'S' JOIN pg_namespace n ON n.oid = s.relnamespace WHERE d.deptype = 'a' "
        "AND d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = "
        "(SELECT c.oid FROM pg_class c JOIN pg_namespace m ON m.oid = c.relnamespace "
        "WHERE m.nspname = %s AND c.relname = %s)", [table.schema, table.table],
    ).fetchall()  # fmt: skip
