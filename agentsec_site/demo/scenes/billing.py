"""Billing reconciliation: a credential for one table, five minutes, gone after the query."""

from __future__ import annotations

from typing import Any

import psycopg

from agentsec_site.demo.stage import Stage


def play(stage: Stage) -> dict[str, Any]:
    agent, host = stage.agent("billing-bot"), stage.host("billing-bot")
    session = host.open_session(purpose="Reconcile the November invoices", user="ruth@acme.example")
    host.say(session, "user_message", "Please reconcile the invoices of November and tell me what is open.")
    agent.say(session, "reasoning", "I need the table invoices, to read. Five minutes are enough.")
    action = agent.propose(
        session, "billing.credential", {"table": "invoices", "minutes": 5}, reason="Sum up what is open."
    )
    action = stage.settle(agent, action)
    seen: dict[str, Any] = {"action": action["id"], "session": session, "state": action["state"]}
    if "grant" not in action:
        return seen
    with connect(action["grant"]["credentials"]) as connection:
        row = connection.execute("SELECT sum(amount) FROM invoices WHERE NOT paid").fetchone()
        seen["open"] = str(row[0]) if row else "nothing"
        seen["other table"] = _refusal(connection, "SELECT * FROM salaries")
        agent.say(session, "reasoning", f"Open: {seen['open']}. I give the credential back.")
        agent.call("DELETE", f"/grants/{action['grant']['id']}")
        seen["open connection"] = _refusal(connection, "SELECT 1")
    seen["customer"], seen["query"] = _ask(stage, session)
    seen["afterwards"] = _login(action["grant"]["credentials"])
    return seen


def _ask(stage: Stage, session: str) -> tuple[Any, str]:
    """A statement that the tool fixes runs by itself; one that the agent wrote waits, with its plan."""
    agent = stage.agent("billing-bot")
    opened = stage.settle(agent, agent.propose(session, "billing.open", {"customer": "Customer 3"}))
    text = "SELECT customer, sum(amount) FROM invoices WHERE NOT paid GROUP BY customer ORDER BY 2 DESC"
    asked = agent.propose(session, "billing.query", {"sql": text}, reason="Who owes most?")
    return opened.get("result"), asked["state"]


def connect(credentials: dict[str, Any]) -> psycopg.Connection[Any]:
    return psycopg.connect(
        host=credentials["host"],
        port=credentials["port"],
        dbname=credentials["database"],
        user=credentials["username"],
        password=credentials["password"],
        autocommit=True,
        connect_timeout=10,
    )


def _refusal(connection: psycopg.Connection[Any], query: str) -> str:
    try:
        connection.execute(query)
    except psycopg.Error as error:
        return type(error).__name__
    return "allowed"


def _login(credentials: dict[str, Any]) -> str:
    try:
        connect(credentials).close()
    except psycopg.Error as error:
        return type(error).__name__
    return "allowed"
