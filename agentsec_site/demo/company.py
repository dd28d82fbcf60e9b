"""The demonstration company's own database, beside agentsec's: two tables and a role that issues roles."""

from __future__ import annotations

import secrets as randomness
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from agentsec_site.embedded import Services
from policies import secrets

DATABASE = "agentsec_demo_company"
ISSUER = "agentsec_demo_issuer"
SECRET = "billing-database"
SCHEMA = """
CREATE TABLE IF NOT EXISTS invoices
    (id int PRIMARY KEY, customer text NOT NULL, amount numeric(10, 2) NOT NULL, paid boolean NOT NULL);
CREATE TABLE IF NOT EXISTS salaries
    (id int PRIMARY KEY, person text NOT NULL, amount numeric(10, 2) NOT NULL);
INSERT INTO invoices SELECT n, 'Customer ' || n, 40 + n * 3.5, n % 3 > 0 FROM generate_series(1, 60) n
    ON CONFLICT DO NOTHING;
INSERT INTO salaries SELECT n, 'Person ' || n, 3000 + n * 100 FROM generate_series(1, 12) n
    ON CONFLICT DO NOTHING;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
"""


def prepare(services: Services) -> None:
    """Make the database where it is missing, give its issuing role a new password, keep that as a secret."""
    password = randomness.token_urlsafe(24)
    with psycopg.connect(services.admin_url, autocommit=True) as admin:
        _role(admin, password)
        if not admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        admin.execute(f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC")
        admin.execute(f"GRANT CONNECT ON DATABASE {DATABASE} TO {ISSUER} WITH GRANT OPTION")
    with psycopg.connect(_address(services.admin_url), autocommit=True) as company:
        company.execute(SCHEMA)
        company.execute(f"GRANT USAGE ON SCHEMA public TO {ISSUER} WITH GRANT OPTION")
        company.execute(f"GRANT SELECT ON invoices, salaries TO {ISSUER} WITH GRANT OPTION")
    secrets.put(name=SECRET, value=_address(services.admin_url, user=ISSUER, password=password), by="demo")


def _role(admin: psycopg.Connection, password: str) -> None:
    known = admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ISSUER]).fetchone()
    verb = sql.SQL("ALTER" if known else "CREATE")
    statement = sql.SQL("{} ROLE {} LOGIN CREATEROLE PASSWORD {}")
    admin.execute(statement.format(verb, sql.Identifier(ISSUER), sql.Literal(password)))


def _address(admin_url: str, *, user: str = "", password: str = "") -> str:
    """The same server, the company's database; with another user if one is named."""
    parts = urlsplit(admin_url)
    place = parts.netloc.rpartition("@")[2]
    login = f"{quote(user)}:{quote(password)}@" if user else parts.netloc[: len(parts.netloc) - len(place)]
    return urlunsplit(parts._replace(netloc=f"{login}{place}", path=f"/{DATABASE}"))
