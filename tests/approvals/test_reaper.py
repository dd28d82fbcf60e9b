"""Grants end when their time is over; one that cannot be ended is an alert until it is."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import psycopg
import pytest
from django.core import mail
from django.db import connections
from django.test import override_settings
from django.utils import timezone

from agentsec_site.embedded import Services
from agentsec_site.home import secret
from approvals import clock, concerns, reaper
from approvals.notify import warnings
from approvals.warning_models import Warned, WarningNotice
from policies import grants, secrets, world
from policies.issuers import ISSUERS, IssuerFailed
from policies.models import Grant, User
from tests import billing
from tests.approvals.test_credentials import roles, take
from tests.cast import Cast
from traces.models import Entry


class Flaky:
    """An issuer whose service can be away."""

    def __init__(self) -> None:
        self.away, self.asked = False, 0

    def scope(self, **about: Any) -> dict[str, Any]:
        return {"source": "somewhere"}

    def revoke(self, *, scope: Any) -> None:
        self.asked += 1
        if self.away:
            raise IssuerFailed("the service does not answer")


@pytest.fixture
def issuer(monkeypatch: pytest.MonkeyPatch) -> Flaky:
    flaky = Flaky()
    monkeypatch.setitem(ISSUERS, "flaky", flaky)
    return flaky


def grant(cast: Cast, *, issuer: str = "flaky", ends: int = -1, **more: Any) -> Grant:
    """A grant whose time was over `-ends` seconds ago."""
    action = cast.propose("notes.read", {"id": Grant.objects.count()})
    over = timezone.now() + timedelta(seconds=ends)
    told = {"tool": "notes.read", "digest": action.digest, "scope": {"source": "somewhere"}, **more}
    return Grant.objects.create(
        action_id=action.pk, agent=cast.agent, issuer=issuer, minted_at=over - timedelta(minutes=5),
        expires_at=over, **told,
    )  # fmt: skip


def later(seconds: float) -> Any:
    """Every grant's next attempt, so much nearer."""
    for row in Grant.objects.exclude(retry_at=None):
        Grant.objects.filter(pk=row.pk).update(retry_at=row.retry_at - timedelta(seconds=seconds))


def test_what_ended_while_nothing_ran_ends_at_the_first_look(cast: Cast, issuer: Flaky) -> None:
    found = grant(cast, ends=-86400)
    assert grants.alive(action_id=found.action_id) is None
    assert reaper.reap(timezone.now()) >= 1
    found.refresh_from_db()
    assert (found.state, issuer.asked) == ("revoked", 1)


def test_attempts_come_later_and_later_and_end_when_it_works(cast: Cast, issuer: Flaky) -> None:
    found, issuer.away = grant(cast), True
    pauses = []
    for _ in range(12):
        reaper.reap(timezone.now())
        found.refresh_from_db()
        assert found.retry_at is not None
        pauses.append(round((found.retry_at - timezone.now()).total_seconds()))
        later(1000)
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    issuer.away = False
    reaper.reap(timezone.now())
    found.refresh_from_db()
    assert (found.state, found.problem, found.retry_at) == ("revoked", "", None)
    assert Entry.objects.filter(kind="grant.revoke_failed").count() == 4  # at 1, 2, 4 and 8


def test_a_service_that_is_away_is_asked_once_a_turn_and_holds_up_no_other(cast: Cast, issuer: Flaky) -> None:
    for _ in range(5):
        grant(cast)
    healthy = grant(cast, issuer="none", scope={})
    issuer.away = True
    reaper.reap(timezone.now())
    healthy.refresh_from_db()
    assert (issuer.asked, healthy.state) == (1, "revoked")


@pytest.mark.parametrize("broken", ["gone", "crashing"])
def test_an_issuer_that_is_gone_or_crashes_is_an_alert_and_no_end_of_the_reaper(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    if broken == "crashing":
        monkeypatch.setitem(ISSUERS, "crashing", object())  # type: ignore[arg-type]
    found = grant(cast, issuer=broken)
    healthy = grant(cast, issuer="none", scope={})
    reaper.reap(timezone.now())
    healthy.refresh_from_db()
    found.refresh_from_db()
    assert (healthy.state, found.state, list(concerns.stuck())) == ("revoked", "revoking", [found])
    assert found.problem


@override_settings(EMAIL_HOST="localhost", EMAIL_BACKEND="django.core.mail.backends.locmem.EmailBackend")
def test_administrators_and_the_owner_are_told_once_and_told_when_it_is_over(
    cast: Cast, issuer: Flaky
) -> None:
    User.objects.filter(pk=cast.administrator.pk).update(email="root@corp.example")
    User.objects.filter(pk=cast.approver.pk).update(email="ada@corp.example")
    cast.agent.owner = cast.approver
    cast.agent.save()
    grant(cast)
    issuer.away = True
    for _ in range(6):
        reaper.reap(timezone.now())
        later(1000)
    while warnings.step(now=timezone.now()):
        pass
    assert sorted(message.to[0] for message in mail.outbox) == ["ada@corp.example", "root@corp.example"]
    assert "cannot be ended: the service does not answer" in mail.outbox[0].body
    assert Warned.objects.get().stage == "stuck"
    issuer.away = False
    reaper.reap(timezone.now())
    while warnings.step(now=timezone.now()):
        pass
    assert len(mail.outbox) == 4 and "It is gone now" in mail.outbox[-1].body
    assert not Warned.objects.filter(over_at=None).exists()


def test_a_warning_that_nobody_takes_is_tried_again_and_given_up(cast: Cast) -> None:
    """Mail is not set up here, so it is refused each time."""
    User.objects.filter(pk=cast.administrator.pk).update(email="root@corp.example")
    with override_settings(EMAIL_HOST="localhost"):
        concerns.say(concerns.Concern("key:1", "1 day", "The key ends"))
    now = timezone.now()
    with override_settings(EMAIL_HOST="", EMAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend"):
        for _ in range(7):
            warnings.step(now=now)
            now += timedelta(hours=1)
    notice = WarningNotice.objects.get()
    assert (notice.state, notice.attempts) == ("given_up", 5)
    assert Entry.objects.filter(kind="warning.given_up").count() == 1


def test_of_two_clocks_that_notice_it_at_once_one_says_it(committed_cast: Cast) -> None:
    User.objects.filter(pk=committed_cast.administrator.pk).update(email="root@corp.example")
    start = Barrier(4)

    def say(_: int) -> int:
        start.wait(10)
        try:
            return concerns.say(concerns.Concern("key:1", "1 day", "The key ends"))
        finally:
            connections.close_all()

    with override_settings(EMAIL_HOST="localhost"), ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(say, range(4))) == [0, 0, 0, 1]
    counts = (Warned.objects.count(), WarningNotice.objects.count())
    assert (*counts, Entry.objects.filter(kind="credential.warned").count()) == (1, 1, 1)


def test_two_reapers_at_once_end_a_grant_once(committed_cast: Cast, issuer: Flaky) -> None:
    found = grant(committed_cast)
    start = Barrier(3)

    def reap(_: int) -> None:
        start.wait(10)
        try:
            reaper.reap(timezone.now())
        finally:
            connections.close_all()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(reap, range(3)))
    found.refresh_from_db()
    assert (found.state, Entry.objects.filter(kind="grant.revoked").count()) == ("revoked", 1)


# A real database that goes away and comes back


@pytest.fixture
def company(committed_cast: Cast, billing_url: str) -> Iterator[Cast]:
    secrets.put(name="billing", value=billing_url, by="tests")
    world.apply(billing.WORLD, by="tests")
    yield committed_cast
    for left in Grant.objects.alive():
        grants.revoke(grant=left, why="the test is over")


def test_a_role_whose_database_is_away_is_dropped_when_it_is_back(
    company: Cast, services: Services, billing_url: str
) -> None:
    """Nobody may connect to the company's database while it is away; then time passes and it is back."""
    take(company)
    past = timezone.now() - timedelta(seconds=1)
    Grant.objects.update(minted_at=past - timedelta(minutes=5), expires_at=past)
    address = services.postgres_url(
        user="postgres", password=secret(services.home, "postgres.password"), database="postgres"
    )
    with psycopg.connect(address, autocommit=True) as admin:
        admin.execute("ALTER DATABASE billing WITH ALLOW_CONNECTIONS false")
        try:
            clock.tick()
            (found,) = concerns.stuck()
            assert (found.state, found.attempts, len(roles_of(admin))) == ("revoking", 1, 1)
            assert "cannot be reached" in found.problem
        finally:
            admin.execute("ALTER DATABASE billing WITH ALLOW_CONNECTIONS true")
    later(5)
    clock.tick()
    assert roles(services) == [] and not concerns.stuck().exists()
    assert Entry.objects.filter(kind="grant.revoked").count() == 1


def test_a_role_is_dropped_by_the_address_before_while_the_new_one_does_not_work_yet(
    company: Cast, services: Services
) -> None:
    take(company)
    wrong = "postgres://nobody:not-there-yet@127.0.0.1:1/billing"
    secrets.put(name="billing", value=wrong, by="tests", overlap=timedelta(hours=1))
    (found,) = Grant.objects.alive()
    assert grants.revoke(grant=found, why="done") and roles(services) == []


def roles_of(admin: psycopg.Connection[Any]) -> list[Any]:
    return admin.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'agentsec_g_%'").fetchall()
