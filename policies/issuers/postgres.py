"""Issuer `postgres`: a real role for one grant, with exactly its tables, columns, operations and rows.

The tool's config names `source`, a secret that holds the address of an issuing role: CREATEROLE, what it may
grant WITH GRANT OPTION, and CREATE on the database where `rows` limit what is granted. What a grant covers is
worked out in `postgres_scope`, made in `postgres_role`, and held against the server's own answers in
`postgres_reach`.

Traps: an expired VALID UNTIL stops new logins only, so open sessions are terminated; what PUBLIC may do every
role may do, so a new role that reaches more than was granted is refused; of two that change the rights of one
table at once the server refuses one, which tries again.
"""

from __future__ import annotations

import secrets as randomness
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from policies import secrets
from policies.issuers import postgres_reach, postgres_role, postgres_scope
from policies.issuers.base import Issued, Issuer, IssuerFailed
from policies.issuers.postgres_scope import Scope

Result = TypeVar("Result")
TRIES = 10
# Any constant does: whoever makes or drops a role in this database takes turns by it where it can.
TURN = 0x61676772
TURN_SECONDS = 1.0


class _Postgres:
    def scope(self, *, grant_id: UUID, config: Mapping[str, Any], args: Mapping[str, Any]) -> dict[str, Any]:
        return postgres_scope.scope(grant_id=grant_id, config=config, args=args).to_json()

    def issue(self, *, scope: Mapping[str, Any], expires_at: datetime) -> Issued:
        granted, password = Scope.from_json(scope), randomness.token_urlsafe(32)
        with _issuing(granted) as connection:
            postgres_reach.refuse_own_database(connection)
            held = _again(lambda: _make(connection, granted, password, expires_at), "made")
            return _issued(connection, granted, held, password, expires_at)

    def revoke(self, *, scope: Mapping[str, Any]) -> None:
        granted = Scope.from_json(scope)
        with _issuing(granted) as connection:
            # The reaper may be ending the same role this moment; whoever comes second finds it gone.
            _again(lambda: _remove(connection, granted), "dropped")


ISSUER: Issuer = _Postgres()


def _make(
    connection: psycopg.Connection[Any], scope: Scope, password: str, expires_at: datetime
) -> Mapping[str, tuple[str, str]]:
    with connection.transaction():
        _take_turn(connection)
        held = postgres_role.create(connection, scope, password, expires_at.isoformat())
        postgres_reach.refuse(connection, scope, held)
    return held


def _remove(connection: psycopg.Connection[Any], scope: Scope) -> None:
    if postgres_role.exists(connection, scope.role):
        postgres_role.lock_out(connection, scope.role)
        postgres_role.terminate(connection, scope.role)
        with connection.transaction():
            _take_turn(connection)
            postgres_role.drop(connection, scope)


def _again(act: Callable[[], Result], done: str) -> Result:
    """What another's change got in the way of is tried again. Raises IssuerFailed."""
    for attempt in range(TRIES):
        try:
            return act()
        except psycopg.Error as error:
            failed = IssuerFailed(f"the role could not be {done}: {reason(error)}")
            if error.sqlstate not in ("XX000", "40P01", "40001", "42704"):
                raise failed from None
            time.sleep(0.02 * (attempt + 1) * (0.5 + randomness.randbelow(100) / 100))
    raise failed


def _take_turn(connection: psycopg.Connection[Any]) -> None:
    """Waits for others who change rights, but not for long: a role's holder could take the same lock."""
    until = time.monotonic() + TURN_SECONDS
    while connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [TURN]).fetchone() == (False,):
        if time.monotonic() > until:
            return
        time.sleep(0.01)


def reason(error: psycopg.Error) -> str:
    """What the database said, in one line and without what it said it of."""
    return (error.diag.message_primary or type(error).__name__).splitlines()[0]


@contextmanager
def _issuing(scope: Scope) -> Iterator[psycopg.Connection[Any]]:
    """A connection as the issuing role, in autocommit."""
    with _connected(scope.source, "reached", application_name="agentsec issuer") as connection:
        connection.execute("SET statement_timeout = '15s'; SET lock_timeout = '5s'")
        yield connection


@contextmanager
def entered(
    scope: Mapping[str, Any], issued: Mapping[str, Any], name: str
) -> Iterator[psycopg.Connection[Any]]:
    """A connection as the role of a grant, in autocommit: for a broker, which gives nobody the password.

    Takes the way that the source's address says (host, TLS and so on). Raises IssuerFailed.
    """
    granted = Scope.from_json(scope)
    role = {"user": granted.role, "password": issued["password"]}
    with _connected(granted.source, "entered", application_name=name, **role) as connection:
        yield connection


def _connected(source: str, verb: str, **how: Any) -> psycopg.Connection[Any]:
    """While an address overlaps with the one before, by the first of them that the server takes."""
    failed = ""
    for address in secrets.usable(source):
        try:
            return psycopg.connect(make_conninfo(address, connect_timeout=5, **how), autocommit=True)
        except psycopg.Error as error:
            failed = type(error).__name__
    raise IssuerFailed(f"the database of “{source}” cannot be {verb} ({failed})")


def _issued(
    connection: psycopg.Connection[Any],
    scope: Scope,
    held: Mapping[str, tuple[str, str]],
    password: str,
    expires_at: datetime,
) -> Issued:
    address = conninfo_to_dict(connection.info.dsn)
    tables = [".".join(held[table.name]) for table in scope.tables]
    public = {
        "host": address.get("host") or connection.info.host,
        "port": connection.info.port,
        "database": connection.info.dbname,
        "username": scope.role,
        "tables": tables,
        "operations": list(scope.tables[0].operations),
        "expires_at": expires_at.isoformat(),
    }
    if len(tables) == 1:
        public["table"] = tables[0]
    return Issued(public=public, private={"password": password})
