"""Roles, database and schema: made once, exactly as tight as told, in our cluster and in an operator's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import psycopg
import pytest

from agentsec_site import embedded, provision
from agentsec_site.embedded import Services
from agentsec_site.home import SetupError
from tests.live import make_home

APP_MAY_NOT = [
    "SET ROLE agentsec_owner",
    "SET ROLE agentsec_sequencer",
    "CREATE TABLE mine (id int)",
    "CREATE ROLE another",
    "CREATE DATABASE another",
    "ALTER TABLE traces_entry DISABLE TRIGGER ALL",
    "SET session_replication_role = replica",
    "TRUNCATE traces_entry",
    "CREATE TEMPORARY TABLE mine (id int)",
    "COPY (SELECT 1) TO PROGRAM 'id'",
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Services]:
    """A PostgreSQL of an operator: nothing of agentsec is in it yet."""
    root = make_home()
    with embedded.running(root) as services:
        yield services
    shutil.rmtree(root)


@pytest.fixture
def operator(cluster: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """What agentsec sees when DATABASE_URL names a modest role of that cluster."""
    with psycopg.connect(cluster.admin_url, autocommit=True) as admin:
        admin.execute("CREATE ROLE operator LOGIN PASSWORD 'x' NOCREATEROLE NOCREATEDB")
    url = cluster.postgres_url(user="operator", password="x", database="postgres")
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("REDIS_URL", cluster.redis_url)
    root = make_home()
    yield embedded.plan(root)
    shutil.rmtree(root)
    with psycopg.connect(cluster.admin_url, autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS agentsec WITH (FORCE)")
        for role in provision.ROLES.values():
            admin.execute(f"DROP ROLE IF EXISTS {role}")
        admin.execute("DROP OWNED BY operator")
        admin.execute("DROP ROLE operator")


def test_an_operators_role_with_the_right_to_create_is_enough(cluster: Services, operator: Services) -> None:
    with psycopg.connect(cluster.admin_url, autocommit=True) as admin:
        admin.execute("ALTER ROLE operator CREATEROLE CREATEDB")
    urls = provision.provision(operator)
    with psycopg.connect(urls.app) as app:
        assert app.execute("SELECT current_user, current_database()").fetchone() == (
            "agentsec_app",
            "agentsec",
        )


def test_without_that_right_one_line_names_the_script_and_the_script_is_enough(
    cluster: Services, operator: Services
) -> None:
    with pytest.raises(SetupError, match="may not create roles") as refusal:
        provision.provision(operator)
    script = operator.home.keys / "provision.sql"
    assert str(script) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    with psycopg.connect(cluster.admin_url, autocommit=True) as admin:
        for line in script.read_text().replace("<user of DATABASE_URL>", "operator").splitlines():
            admin.execute(line)
    with psycopg.connect(provision.provision(operator).app) as app:
        assert app.execute("SELECT count(*) FROM traces_entry").fetchone() == (0,)


def test_another_host_without_the_first_ones_keys_is_told_to_copy_them(
    cluster: Services, operator: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(cluster.admin_url, autocommit=True) as admin:
        admin.execute("ALTER ROLE operator CREATEROLE CREATEDB")
    provision.provision(operator)
    second = make_home()
    try:
        with pytest.raises(SetupError, match="copy the keys folder of the first host"):
            provision.provision(embedded.plan(second))
    finally:
        shutil.rmtree(second)


def test_a_database_that_is_away_is_said_in_one_line(
    operator: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://nobody:x@127.0.0.1:1/agentsec")
    with pytest.raises(SetupError, match="the database does not answer: .*refused"):
        provision.provision(embedded.plan(operator.home.root))


def test_a_second_provisioning_runs_no_migration(
    services: Services, django_db_setup: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provision, "migrate", lambda *_: pytest.fail("it migrated again"))
    provision.provision(services)


def test_a_changed_migration_is_noticed(
    services: Services, django_db_setup: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    known = provision.fingerprint()
    monkeypatch.setattr(provision, "fingerprint", lambda: "agentsec schema of tomorrow")
    monkeypatch.setattr(provision, "migrate", lambda url, services: ran.append(url))
    provision.provision(services)
    monkeypatch.setattr(provision, "fingerprint", lambda: known)
    provision.provision(services)
    assert len(ran) == 2


@pytest.mark.parametrize("statement", APP_MAY_NOT)
def test_the_app_role_may_not(services: Services, django_db_setup: None, statement: str) -> None:
    with (
        psycopg.connect(provision.addresses(services).app, autocommit=True) as app,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        app.execute(statement)


def test_nobody_signs_in_as_the_owner(superuser: psycopg.Connection) -> None:
    rows = superuser.execute("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'agentsec_owner'").fetchall()
    assert rows == [(False,)]


def test_every_table_belongs_to_the_owner(superuser: psycopg.Connection) -> None:
    owners = superuser.execute(
        "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
    ).fetchall()
    assert owners == [("agentsec_owner",)]


def test_a_role_that_was_granted_nothing_cannot_enter(
    superuser: psycopg.Connection, services: Services, django_db_setup: None
) -> None:
    superuser.execute("CREATE ROLE stranger LOGIN PASSWORD 'x'")
    try:
        for database in ("agentsec", "postgres", "template1"):
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                psycopg.connect(services.postgres_url(user="stranger", password="x", database=database))
    finally:
        superuser.execute("DROP ROLE stranger")


def test_in_our_own_cluster_a_lost_password_file_is_made_anew(
    services: Services, django_db_setup: None
) -> None:
    path = services.home.keys / "sequencer.password"
    before = path.read_text()
    path.unlink()
    try:
        with psycopg.connect(provision.provision(services).sequencer) as sequencer:
            assert sequencer.execute("SELECT current_user").fetchone() == ("agentsec_sequencer",)
    finally:
        path.write_text(before)
        provision.provision(services)
