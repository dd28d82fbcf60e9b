"""A statement on a company's database: run under a role of minutes, within limits, and committed last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from agentsec_site.embedded import Services
from approvals import execution
from approvals.models import Action
from policies import secrets, world
from tests import billing
from tests.cast import Cast

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
def admin(services: Services) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(billing.billing_admin(services), autocommit=True) as connection:
        yield connection


def run(cast: Cast, tool: str, **args: Any) -> Action:
    action = cast.propose(tool, args)
    execution.run(action_id=action.pk, worker="tests")
    action.refresh_from_db()
    return action


def roles(admin: psycopg.Connection[Any]) -> int:
    [(count,)] = admin.execute("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'agentsec_g_%'").fetchall()
    return int(count)


def test_it_answers_with_rows_and_leaves_no_role(company: Cast, admin: psycopg.Connection[Any]) -> None:
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


def test_a_write_is_committed(company: Cast, admin: psycopg.Connection[Any]) -> None:
    action = run(
        company, "billing.write", sql="UPDATE invoices SET amount = 80 WHERE id = 2 RETURNING amount"
    )
    assert (action.state, action.result["row_count"], action.result["rows"]) == ("succeeded", 1, [["80"]])


def test_more_rows_than_the_tool_may_change_are_not_changed(
    company: Cast, admin: psycopg.Connection[Any]
) -> None:
    action = run(company, "billing.write", sql="DELETE FROM invoices")
    assert "it would change 2 rows" in action.error
    assert admin.execute("SELECT count(*) FROM invoices").fetchone() == (2,)
