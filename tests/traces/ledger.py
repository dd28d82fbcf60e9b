"""A log on real PostgreSQL: the app appends, the sequencer's role integrates, an auditor looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from django.conf import settings
from django.db import transaction

from traces import audit, keys, record, sequencer
from traces.models import Entry, Session
from traces.verify import Finding, VerifierKey


class Ledger:
    """What the tests of the log do with it; each append commits."""

    def __init__(self, sequencer_dsn: str, superuser: psycopg.Connection[Any]) -> None:
        self.sequencer_dsn = sequencer_dsn
        self.superuser = superuser
        self.superuser.execute("SET session_replication_role = replica")

    def session(self, user: str = "ada") -> Session:
        return record.open_session(
            agent_id="7", agent_name="billing-bot", actor="agent:7", team="finance", user=user
        )

    def append(self, session: Session | None = None, **wish: Any) -> Entry:
        wish = {"kind": "test.event", "body": {"n": 1}, "actor": "agent:7", **wish}
        with transaction.atomic():
            return record.append(session=session, **wish)

    def integrate(self) -> int:
        with psycopg.connect(self.sequencer_dsn, autocommit=True) as connection:
            return sequencer.integrate_once(connection)

    def audit(self, seen: Mapping[int, bytes] | None = None) -> audit.Audit:
        key = VerifierKey.parse(keys.verifier_key())
        with psycopg.connect(settings.AGENTSEC_DATABASE_URL, autocommit=True) as connection:
            return audit.verify_database(connection, key=key, seen=seen)

    def forge(self, statement: str, *parameters: object) -> None:
        """What a superuser can do with triggers switched off."""
        done = self.superuser.execute(statement.encode(), parameters)
        assert done.rowcount > 0, "the forgery changed nothing"


def kinds(findings: list[Finding]) -> set[str]:
    return {finding.kind for finding in findings}


def named(findings: list[Finding]) -> set[str]:
    return {finding.entry for finding in findings}
