"""Roles of a grant at the company's database, made and taken back as the issuer does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg
from psycopg.conninfo import make_conninfo

from policies.issuers import postgres_reach, postgres_role, postgres_scope

Connection = psycopg.Connection[Any]
PASSWORD = "of-a-test-role"


@contextmanager
def role(
    issuer: Connection, url: str, args: dict[str, Any] | None = None, **config: Any
) -> Iterator[Connection]:
    """A connection as a role with what `config`, a tool's fields, grants for a call with these arguments."""
    scope = postgres_scope.scope(grant_id=uuid4(), config={"tables": ["invoices"], **config}, args=args or {})
    with issuer.transaction():
        held = postgres_role.create(issuer, scope, PASSWORD, "infinity")
        postgres_reach.refuse(issuer, scope, held)
    address = make_conninfo(url, user=scope.role, password=PASSWORD)
    try:
        with psycopg.connect(address, autocommit=True) as opened:
            yield opened
    finally:
        postgres_role.terminate(issuer, scope.role)
        postgres_role.drop(issuer, scope)
