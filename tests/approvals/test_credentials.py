"""A temporary database role: for one table, for minutes, gone afterwards with everything it opened."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.utils import timezone

from agentsec_site.embedded import Services
from approvals import clock, handout, results
from approvals.models import Action
from policies import secrets, world
from policies.issuers import ISSUERS, Issued
from policies.models import Grant
from tests import billing
from tests.cast import Cast
from traces.models import Entry, Outbox, Span
from traces.problems import Refused


@pytest.fixture
def company(committed_cast: Cast, billing_url: str) -> Iterator[Cast]:
    secrets.put(name="billing", value=billing_url, by="tests")
    world.apply(billing.WORLD, by="tests")
    yield committed_cast
    for grant in Grant.objects.alive():
        results.give_back(agent=grant.agent, grant_id=grant.pk)


def take(cast: Cast, table: str = "invoices", **more: Any) -> tuple[Action, handout.Handout]:
    action = cast.propose("billing.credential", {"table": table, **more})
    handed = handout.take(action.pk, agent=cast.agent)
    assert handed is not None
    return action, handed


def connect(services: Services, handed: handout.Handout) -> psycopg.Connection[Any]:
    told = handed.credentials
    return psycopg.connect(
        services.postgres_url(user=told["username"], password=told["password"], database=told["database"]),
        autocommit=True,
    )


def roles(services: Services) -> list[str]:
    with psycopg.connect(billing.billing_admin(services)) as connection:
        rows = connection.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'agentsec_g_%'").fetchall()
    return [row[0] for row in rows]


def test_it_reads_the_granted_table_and_no_other(company: Cast, services: Services) -> None:
    _, handed = take(company)
    with connect(services, handed) as connection:
        assert connection.execute("SELECT count(*) FROM invoices").fetchone() == (2,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM salaries")
        with pytest.raises(psycopg.errors.Error):
            connection.execute("DELETE FROM invoices")


def test_it_cannot_enter_the_database_of_agentsec(
    company: Cast, services: Services, superuser_dsn: str
) -> None:
    _, handed = take(company)
    own = superuser_dsn.rpartition("/")[2].partition("?")[0]
    told = handed.credentials
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(services.postgres_url(user=told["username"], password=told["password"], database=own))


def test_given_back_it_is_gone_and_an_open_connection_dies(company: Cast, services: Services) -> None:
    action, handed = take(company)
    with connect(services, handed) as connection:
        results.give_back(agent=company.agent, grant_id=handed.grant.pk)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert roles(services) == []
    action.refresh_from_db()
    assert action.state == "succeeded"


def test_reported_it_is_gone_too(company: Cast, services: Services) -> None:
    action, _ = take(company)
    results.report(agent=company.agent, action_id=action.pk, status="succeeded", output={"total": 200.5})
    assert roles(services) == []


def test_its_time_over_the_clock_takes_it_back(company: Cast, services: Services) -> None:
    action, handed = take(company)
    past = timezone.now() - timedelta(seconds=1)
    Grant.objects.update(minted_at=past - timedelta(minutes=5), expires_at=past)
    clock.tick()
    assert roles(services) == []
    assert Grant.objects.get(pk=handed.grant.pk).state == "revoked"
    action.refresh_from_db()
    assert action.state == "succeeded"


def test_the_server_itself_ends_it_after_the_minutes_asked_for(company: Cast, services: Services) -> None:
    _, handed = take(company, minutes=2)
    assert handed.grant.expires_at <= timezone.now() + timedelta(minutes=2)
    with psycopg.connect(billing.billing_admin(services)) as connection:
        row = connection.execute(
            "SELECT rolvaliduntil FROM pg_roles WHERE rolname = %s", [handed.credentials["username"]]
        ).fetchone()
    assert row is not None
    assert abs(row[0] - handed.grant.expires_at) < timedelta(seconds=1)


def test_the_password_is_in_one_answer_and_nowhere_else(company: Cast, services: Services) -> None:
    action, handed = take(company)
    password = handed.credentials["password"]
    again = handout.take(action.pk, agent=company.agent)
    assert again is not None
    assert again.credentials == {}
    stored = (
        str(list(Grant.objects.values()))
        + str(list(Action.objects.values()))
        + str(list(Span.objects.values()))
    )
    assert password not in stored
    assert password not in repr(handed)


def test_a_table_outside_the_tools_list_is_refused(company: Cast, services: Services) -> None:
    action = company.propose("billing.credential", {"table": "pg_catalog.pg_authid"})
    assert handout.take(action.pk, agent=company.agent) is None
    action.refresh_from_db()
    assert action.state == "cancelled"
    assert roles(services) == []


def test_a_role_that_would_reach_more_is_not_made(company: Cast, services: Services) -> None:
    with psycopg.connect(billing.billing_admin(services), autocommit=True) as connection:
        connection.execute("GRANT SELECT ON salaries TO PUBLIC")
        try:
            action = company.propose("billing.credential", {"table": "invoices"})
            with pytest.raises(Refused, match="salaries"):
                handout.take(action.pk, agent=company.agent)
        finally:
            connection.execute("REVOKE SELECT ON salaries FROM PUBLIC")
    assert roles(services) == []
    action.refresh_from_db()
    assert action.state == "failed"


def test_a_security_definer_function_counts_as_reach(company: Cast, services: Services) -> None:
    with psycopg.connect(billing.billing_admin(services), autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER "
            "AS 'SELECT count(*) FROM salaries'"
        )
        try:
            action = company.propose("billing.credential", {"table": "invoices"})
            with pytest.raises(Refused, match="peek"):
                handout.take(action.pk, agent=company.agent)
        finally:
            connection.execute("DROP FUNCTION peek()")


def test_a_revocation_that_fails_is_retried_and_said(
    company: Cast, services: Services, billing_url: str
) -> None:
    action, handed = take(company)
    secrets.put(name="billing", value="postgres://nobody:x@127.0.0.1:1/billing", by="tests")
    with pytest.raises(Refused, match="tried again"):
        results.give_back(agent=company.agent, grant_id=handed.grant.pk)
    assert Entry.objects.about(str(action.pk)).filter(kind="grant.revoke_failed").exists()
    secrets.put(name="billing", value=billing_url, by="tests")
    clock.tick()
    assert roles(services) != []  # not yet: its second attempt is put off by a second
    Grant.objects.update(retry_at=timezone.now())
    clock.tick()
    assert roles(services) == []
    assert Grant.objects.get(pk=handed.grant.pk).state == "revoked"


def test_mint_and_end_are_in_the_log(company: Cast) -> None:
    action, handed = take(company)
    results.give_back(agent=company.agent, grant_id=handed.grant.pk)
    kinds = list(Entry.objects.about(str(action.pk)).values_list("kind", flat=True))
    assert kinds.index("grant.minted") < kinds.index("action.running") < kinds.index("grant.revoked")
    assert Outbox.objects.exists()


def test_given_back_while_it_is_being_made_it_is_gone_all_the_same(
    company: Cast, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another call of the agent ends the grant before the role exists: there is nothing to drop yet."""
    issuer, action = ISSUERS["postgres"], company.propose("billing.credential", {"table": "invoices"})
    make = issuer.issue

    def ended_meanwhile(**told: Any) -> Issued:
        results.give_back(agent=company.agent, grant_id=Grant.objects.get(action_id=action.pk).pk)
        return make(**told)

    monkeypatch.setattr(issuer, "issue", ended_meanwhile)
    with pytest.raises(Refused):
        handout.take(action.pk, agent=company.agent)
    assert roles(services) == []
    assert Grant.objects.get(action_id=action.pk).state == "revoked"


def test_what_its_holder_made_with_it_does_not_keep_it_alive(company: Cast, services: Services) -> None:
    action, handed = take(company)
    with connect(services, handed) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute("SELECT lo_create(0)")
    results.give_back(agent=company.agent, grant_id=handed.grant.pk)
    assert roles(services) == []
    action.refresh_from_db()
    assert action.state == "succeeded"


def test_one_that_cannot_be_ended_holds_up_no_other(company: Cast) -> None:
    _, handed = take(company)
    Grant.objects.filter(pk=handed.grant.pk).update(state="revoking", attempts=5)
    _, other = take(company)
    Grant.objects.filter(pk=other.grant.pk).update(state="revoking")
    assert [grant.pk for grant in Grant.objects.due(timezone.now())] == [other.grant.pk, handed.grant.pk]
