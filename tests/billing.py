"""A company's database beside agentsec's own: two tables, and a role that may issue roles."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import psycopg
import pytest

from agentsec_site.embedded import Services
from agentsec_site.home import secret

ISSUER = "billing_issuer"
PASSWORD = "issuer-secret-of-the-tests"
SCHEMA = """
CREATE TABLE invoices (id int PRIMARY KEY, customer text, amount numeric);
CREATE TABLE salaries (id int PRIMARY KEY, person text, amount numeric);
INSERT INTO invoices VALUES (1, 'Acme', 120.50), (2, 'Globex', 80);
INSERT INTO salaries VALUES (1, 'Ann', 5000);
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
"""


@pytest.fixture(scope="session")
def billing_url(services: Services, django_db_setup: None) -> Iterator[str]:
    """The address of the issuing role at the company's database."""
    superuser = secret(services.home, "postgres.password")
    admin = services.postgres_url(user="postgres", password=superuser, database="postgres")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS billing WITH (FORCE)")
        connection.execute(f"DROP ROLE IF EXISTS {ISSUER}")
        connection.execute(f"CREATE ROLE {ISSUER} LOGIN CREATEROLE PASSWORD '{PASSWORD}'")
        connection.execute("CREATE DATABASE billing")
        connection.execute("REVOKE ALL ON DATABASE billing FROM PUBLIC")
        connection.execute(f"GRANT CONNECT ON DATABASE billing TO {ISSUER} WITH GRANT OPTION")
        connection.execute(f"GRANT CREATE ON DATABASE billing TO {ISSUER}")
    with psycopg.connect(billing_admin(services), autocommit=True) as connection:
        connection.execute(SCHEMA)
        connection.execute(f"GRANT USAGE ON SCHEMA public TO {ISSUER} WITH GRANT OPTION")
        connection.execute(f"GRANT SELECT ON invoices, salaries TO {ISSUER} WITH GRANT OPTION")
        connection.execute(f"GRANT INSERT, UPDATE, DELETE ON invoices TO {ISSUER} WITH GRANT OPTION")
    yield services.postgres_url(user=ISSUER, password=quote(PASSWORD), database="billing")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS billing WITH (FORCE)")
        connection.execute(f"DROP ROLE IF EXISTS {ISSUER}")


def billing_admin(services: Services) -> str:
    return services.postgres_url(
        user="postgres", password=secret(services.home, "postgres.password"), database="billing"
    )


WORLD = """
tools:
  - name: billing.credential
    runs: credential
    effect: read
    output: trusted
    returns: [private]
    sends: none
    issuer: postgres
    source: billing
    tables: [invoices, salaries]
    minutes: 5
    authority: [table]
    target: table
    summary: "Read {table} for a few minutes"
    parameters:
      type: object
      properties: {table: {type: string}, minutes: {type: integer}}
      required: [table]
"""
