"""What every test stands on: real PostgreSQL and Valkey of their own, and the roles of production.

The services start when the first test needs them, so that tests of the pure parts cost nothing; where
they will be is known before, since settings read it when they load (see `tests/house.py`).
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.test import TransactionTestCase
from hypothesis import settings
from pytest_django.plugin import DjangoDbBlocker

from agentsec_site import embedded, provision
from agentsec_site.embedded import Services
from agentsec_site.home import secret
from policies import secretvalues
from policies.firewall import known
from tests import house, sharing, template, wipe
from tests.dealing import ALONE, INSTANCES, Dealing, place
from tests.lengths import tries
from tests.live import Live, made_home, make_home
from traces import dbtime, keys

pytest_plugins = ["tests.cast", "tests.billing"]

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("agentsec", deadline=None, max_examples=tries(100))
settings.load_profile("agentsec")


def pytest_configure(config: pytest.Config) -> None:
    # Half a second of every sign-in; whole instances keep the real number.
    PBKDF2PasswordHasher.iterations = 1000
    keys.ensure(house.HOME)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Dealing:
    return Dealing(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # What fills the shared company with scenes of its own comes after those who decide theirs.
    items.sort(key=lambda item: (_turn(_place(item)), item.path.name == "test_axe.py"))


def _turn(where: str) -> int:
    order = (ALONE, *INSTANCES)
    return order.index(where) if where in order else len(order)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if nextitem is not None and _place(item) != _place(nextitem):
        sharing.end()


def _place(item: pytest.Item) -> str:
    return place(item.nodeid.partition("::")[0])


def pytest_collection_finish(session: pytest.Session) -> None:
    # Thousands of modules and tests that stay need not be looked through again and again.
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_secrets_without_a_database(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Where a test has no database, nothing is stored; with one, the firewall asks it as in service."""
    if {"db", "transactional_db"} & set(request.fixturenames):
        # How often answers ask must not depend on how busy the machine is.
        monkeypatch.setattr(secretvalues, "RECENT_SECONDS", 60.0)
        secretvalues.forget()
        yield
        secretvalues.forget()
        return
    known.read_from(lambda: known.NOTHING)
    yield
    known.read_from(secretvalues.exact)


@pytest.fixture(autouse=True)
def one_clock() -> Iterator[None]:
    """Tests move the time of their process; those about clocks that differ ask the database."""
    dbtime.follow(None)
    yield
    dbtime.follow(None)


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """PostgreSQL and Valkey of this test run, started."""
    template.copy_cluster(house.HOME)
    with embedded.running(house.HOME) as started:
        yield started


@pytest.fixture(scope="session")
def superuser_dsn(services: Services) -> str:
    """The test database as a superuser, who can do what no role of the site may."""
    name = provision.addresses(services).app.rpartition("/")[2].partition("?")[0]
    return services.postgres_url(
        user="postgres", password=secret(services.home, "postgres.password"), database=name
    )


@pytest.fixture(scope="session")
def sequencer_dsn(services: Services, django_db_setup: None) -> str:
    """The test database as the sequencer's role."""
    return provision.addresses(services).sequencer


@pytest.fixture(scope="session")
def django_db_setup(
    services: Services, superuser_dsn: str, django_db_blocker: DjangoDbBlocker
) -> Iterator[None]:
    """Roles, database and schema made by the same code as in production; Django signs in as the app role."""
    provision.provision(services)
    wiper = wipe.Wiper(superuser_dsn)
    patch = pytest.MonkeyPatch()
    # Django would TRUNCATE as the app role, which the database refuses, as it should.
    patch.setattr(TransactionTestCase, "_fixture_teardown", lambda case: wiper.wipe())
    yield
    patch.undo()
    wiper.close()


@pytest.fixture(scope="session")
def live_instance(request: pytest.FixtureRequest) -> Iterator[Live]:
    """A whole instance with real processes, shared by the end-to-end tests; `.url`, `.manage(…)`, `.link`."""
    live = Live(home=made_home())
    sharing.shared(request)
    try:
        yield live.start()
    finally:
        live.remove()


@pytest.fixture
def own_instance() -> Iterator[Live]:
    """An instance of one test, not started yet, for tests that kill it; removed afterwards."""
    live = Live(home=made_home())
    yield live
    live.remove()


@pytest.fixture
def first_instance() -> Iterator[Live]:
    """The same on an empty home, for tests about the very first start."""
    live = Live(home=make_home())
    yield live
    live.remove()


@pytest.fixture
def superuser(superuser_dsn: str, django_db_setup: None) -> Iterator[psycopg.Connection]:
    """An open connection of a superuser to the test database, committing each statement."""
    with psycopg.connect(superuser_dsn, autocommit=True) as connection:
        yield connection
