"""A statement on a company's database: run under a role of minutes, within limits, and committed last."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from time import monotonic, sleep
from typing import Any

import psycopg
import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from agentsec_site.embedded import Services
from approvals import clock, execution, jobs, killswitch, starting
from approvals.models import Action, Execution
from approvals.sql import planning
from approvals.sql_models import StatementPlan
from approvals.starting import Started
from policies import grants, plan_grants, secrets, world
from policies.issuers import postgres
from policies.models import Grant, User
from tests import billing
from tests.cast import Cast
from tests.page import INLINE
from traces.models import Entry

Admin = psycopg.Connection[Any]
_ASKED = "{type: object, properties: {sql: {type: string}, customer: {type: string}}, required: [%s]}"
_FIELDS = "runs: sql, output: trusted, sends: none, issuer: postgres, source: billing, tables: [invoices]"
WORLD = f"""
tools:
  - {{name: billing.ask, {_FIELDS}, effect: read, authority: [], parameters: {_ASKED % "sql"},
     limits: {{wall_seconds: 3, rows: 50, output_bytes: 4000}}}}
  - {{name: billing.of, {_FIELDS}, effect: read, authority: [customer], parameters: {_ASKED % "customer"},
     statement: "SELECT id, amount FROM invoices WHERE customer = {{customer}}"}}
  - {{name: billing.write, {_FIELDS}, effect: write, authority: [], parameters: {_ASKED % "sql"},
     operations: [select, insert, update, delete], limits: {{changed_rows: 1, wall_seconds: 5}}}}
  - {{name: billing.mine, {_FIELDS}, effect: write, authority: [customer],
     parameters: {_ASKED % "sql, customer"}, operations: [select, update], rows: "customer = {{customer}}"}}
  - {{name: billing.asked, {_FIELDS}, effect: write, authority: [], parameters: {_ASKED % "sql"},
     operations: [select, delete]}}
rules:
  - {{name: databases, effect: allow, tools: [billing.*]}}
  - {{name: deletions, effect: ask, tools: [billing.asked], approvers: comms}}
"""


@pytest.fixture
def company(committed_cast: Cast, billing_url: str) -> Iterator[Cast]:
    secrets.put(name="billing", value=billing_url, by="tests")
    world.apply(WORLD, by="tests")
    yield committed_cast


@pytest.fixture
def admin(services: Services) -> Iterator[Admin]:
    with psycopg.connect(billing.billing_admin(services), autocommit=True) as connection:
        yield connection


def run(cast: Cast, tool: str, **args: Any) -> Action:
    action = cast.propose(tool, args)
    execution.run(action_id=action.pk, worker="tests")
    action.refresh_from_db()
    return action


def invoices(admin: Admin) -> int:
    [(count,)] = admin.execute("SELECT count(*) FROM invoices").fetchall()
    return int(count)


def roles(admin: Admin) -> int:
    [(count,)] = admin.execute("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'agentsec_g_%'").fetchall()
    return int(count)


def test_it_answers_with_rows_and_leaves_no_role(company: Cast, admin: Admin) -> None:
    action = run(company, "billing.ask", sql="SELECT customer, amount FROM invoices ORDER BY id")
    assert action.state == "succeeded", action.error
    assert action.result == {
        "command": "SELECT", "columns": ["customer", "amount"], "row_count": 2, "truncated": False,
        "rows": [["Acme", "120.50"], ["Globex", "80"]], "artifacts": [],
    }  # fmt: skip
    assert roles(admin) == 0


def test_an_argument_is_a_value_and_never_a_piece_of_the_statement(company: Cast) -> None:
    action = run(company, "billing.of", customer="Acme' OR true --")
    assert (action.state, action.result["rows"]) == ("succeeded", [])


def test_a_write_is_committed(company: Cast) -> None:
    action = run(
        company, "billing.write", sql="UPDATE invoices SET amount = 80 WHERE id = 2 RETURNING amount"
    )
    assert (action.state, action.result["row_count"], action.result["rows"]) == ("succeeded", 1, [["80"]])


def test_more_rows_than_the_tool_may_change_are_not_changed(company: Cast, admin: Admin) -> None:
    action = run(company, "billing.write", sql="DELETE FROM invoices")
    assert "it would change 2 rows" in action.error
    assert invoices(admin) == 2


def test_a_call_reaches_the_rows_of_its_argument_only(company: Cast) -> None:
    action = run(company, "billing.mine", sql="SELECT id FROM invoices", customer="Globex")
    assert action.result["rows"] == [[2]]


def test_what_it_may_not_is_said_in_plain_words_and_not_sent(company: Cast, admin: Admin) -> None:
    action = run(company, "billing.ask", sql="SELECT 1; DELETE FROM invoices")
    assert (action.state, action.error) == ("failed", "these are 2 statements: exactly one is run")


def test_neither_address_nor_password_is_in_what_is_stored(company: Cast) -> None:
    action = run(company, "billing.ask", sql="SELECT nonsense")
    stored = str(list(Action.objects.values())) + str(list(Grant.objects.values()))
    assert 'column "nonsense" does not exist' in action.error
    assert billing.PASSWORD not in stored


SLOW = "DELETE FROM invoices WHERE id < (SELECT count(*) FROM generate_series(1, {rows}))"


def in_background(action: Action) -> Future[str]:
    """A worker of its own that runs the action."""

    def work() -> str:
        try:
            return execution.run(action_id=action.pk, worker="other")
        finally:
            connections.close_all()

    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)
    pool.shutdown(wait=False)
    return future


def wait_for_statement(admin: Admin) -> None:
    until = monotonic() + 10
    query = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'DELETE %' AND state = 'active'"
    while not admin.execute(query).fetchall():
        assert monotonic() < until
        sleep(0.01)


def test_the_kill_switch_ends_it_within_a_second_and_nothing_was_changed(company: Cast, admin: Admin) -> None:
    action = company.propose("billing.write", {"sql": SLOW.format(rows=10**12)})
    running = in_background(action)
    wait_for_statement(admin)
    began = monotonic()
    killswitch.throw(scope="all", reason="a leak", by="tests")
    running.result(timeout=10)
    took = monotonic() - began
    action.refresh_from_db()
    assert (action.state, invoices(admin), roles(admin)) == ("failed", 2, 0)
    assert took < 2  # a second, and one for a machine that is busy with other tests


def test_one_that_was_declared_over_meanwhile_commits_nothing(company: Cast, admin: Admin) -> None:
    action = company.propose(
        "billing.write", {"sql": SLOW.format(rows=1_500_000).replace("id <", "id = 1 AND id <")}
    )
    running = in_background(action)
    wait_for_statement(admin)
    execution.interrupt(action_id=action.pk, fence=Execution.objects.get().fence, why="taken for dead")
    running.result(timeout=20)
    action.refresh_from_db()
    assert (action.state, invoices(admin)) == ("interrupted", 2)


def test_a_worker_that_dies_leaves_no_role_and_no_change(company: Cast, admin: Admin) -> None:
    action = company.propose("billing.write", {"sql": "DELETE FROM invoices"})
    begun = starting.start(action_id=action.pk, worker="dies")
    assert isinstance(begun, Started)
    handed = grants.issue(begun.grant)
    with postgres.entered(begun.grant.scope, handed.private, "dies") as connection:
        connection.execute("BEGIN")
        connection.execute("DELETE FROM invoices")
        Execution.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=5))
        Grant.objects.update(minted_at=timezone.now() - timedelta(minutes=1))
        clock.recover(timezone.now())
        clock.reap(timezone.now())
        with pytest.raises(psycopg.OperationalError):
            connection.execute("COMMIT")
    assert (invoices(admin), roles(admin)) == (2, 0)


def test_many_at_once_get_their_answers_and_leave_no_role(company: Cast, admin: Admin) -> None:
    actions = [company.propose("billing.ask", {"sql": "SELECT id FROM invoices"}) for _ in range(5)]
    for running in [in_background(action) for action in actions]:
        running.result(timeout=60)
    assert [str(row) for row in Action.objects.values_list("error", flat=True)] == [""] * 5
    assert roles(admin) == 0


def test_the_database_of_agentsec_itself_is_no_source(company: Cast, superuser_dsn: str) -> None:
    secrets.put(name="billing", value=superuser_dsn, by="tests")
    assert "a database of agentsec itself" in run(company, "billing.ask", sql="SELECT 1").error


def test_what_waits_is_planned_once_and_nothing_of_it_happens(company: Cast, admin: Admin) -> None:
    admin.execute("ANALYZE invoices")
    action = company.propose("billing.asked", {"sql": "DELETE FROM invoices"})
    clock.plan(timezone.now())
    assert f"plan-{action.pk}" in jobs.queue().job_ids
    assert "About 2 rows changed" not in card(company.approver, action)
    barrier = Barrier(3)

    def make(_: int) -> str:
        try:
            barrier.wait()
            return planning.make(action_id=action.pk)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(3) as pool:
        said = sorted(pool.map(make, range(3)))
    assert said.count("plan: made") == 1
    shown = card(company.approver, action)
    assert "About 2 rows changed" in shown
    assert "whole table" in shown
    assert planning.told(action) == {
        "state": "made", "why": "", "operations": ["delete"], "rows": 0, "changed": 2, "cost": 1.02,
        "scans": [{"table": "invoices", "how": "Seq Scan", "rows": 2}],
    }  # fmt: skip
    assert not INLINE.search(shown)
    assert (invoices(admin), roles(admin), Grant.objects.get().state) == (2, 0, "revoked")
    assert Entry.objects.about(str(action.pk)).filter(kind="plan.made").count() == 1


def test_a_plan_that_cannot_be_made_says_why(company: Cast) -> None:
    action = company.propose("billing.asked", {"sql": "DELETE FROM salaries"})
    planning.make(action_id=action.pk)
    assert "No plan: this tool reaches invoices, not salaries." in card(company.approver, action)


def test_one_whose_maker_died_says_so(company: Cast) -> None:
    action = company.propose("billing.asked", {"sql": "DELETE FROM invoices"})
    long_ago = timezone.now() - timedelta(minutes=5)
    StatementPlan.objects.create(action=action, digest=action.digest, at=long_ago)
    clock.plan(timezone.now())
    assert "No plan: the worker that made it is gone." in card(company.approver, action)


def test_looking_at_it_makes_no_plan_and_strangers_see_none(company: Cast) -> None:
    action = company.propose("billing.asked", {"sql": "DELETE FROM invoices"})
    assert "The database is asked" in page(company.approver, f"/actions/{action.pk}/plan").content.decode()
    assert page(company.stranger, f"/actions/{action.pk}/plan").status_code == 404
    assert not StatementPlan.objects.exists()


def test_a_stopped_agent_has_nothing_planned(company: Cast) -> None:
    action = company.propose("billing.asked", {"sql": "DELETE FROM invoices"})
    killswitch.throw(scope="all", reason="a leak", by="tests")
    assert "kill switch" in planning.make(action_id=action.pk)
    assert not Grant.objects.exists()


def test_the_grant_of_a_plan_does_not_stand_in_the_way_of_the_start(company: Cast) -> None:
    action = company.propose("billing.ask", {"sql": "SELECT 1"})
    plan_grants.mint(
        plan_id=action.session_id, action_id=action.pk, agent=action.agent, session=action.session,
        tool=action.tool, config={"tables": ["invoices"]}, args={}, digest=action.digest,
    )  # fmt: skip
    assert isinstance(starting.start(action_id=action.pk, worker="tests"), Started)


def test_a_role_whose_plan_was_never_finished_is_dropped_by_the_clock(company: Cast, admin: Admin) -> None:
    action = company.propose("billing.asked", {"sql": "DELETE FROM invoices"})
    grant = plan_grants.mint(
        plan_id=action.session_id, action_id=action.pk, agent=action.agent, session=action.session,
        tool=action.tool, config={"tables": ["invoices"], "source": "billing"}, args={}, digest=action.digest,
    )  # fmt: skip
    grants.issue(grant)
    assert roles(admin) == 1
    Grant.objects.update(minted_at=timezone.now() - timedelta(seconds=50))
    clock.reap(timezone.now())
    assert roles(admin) == 0


def test_an_edit_is_planned_anew(company: Cast) -> None:
    action = company.propose("billing.asked", {"sql": "DELETE FROM invoices"})
    planning.make(action_id=action.pk)
    Action.objects.update(digest="0" * 64, args_json='{"sql":"SELECT 1"}')
    assert planning.make(action_id=action.pk) == "plan: made"
    assert StatementPlan.objects.count() == 2


def page(user: User, address: str) -> Any:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client.get(address)


def card(user: User, action: Action) -> str:
    return str(page(user, f"/actions/{action.pk}/card").content.decode())
