"""A grant to look only: under it the plan of a statement is made while the statement waits for people."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db import transaction

from policies.issuers import ISSUERS, IssuerFailed
from policies.models import Agent, Grant
from traces import dbtime, record
from traces.models import Session
from traces.problems import Refused

LIFE = timedelta(minutes=1)
ISSUER = "postgres"


def mint(
    *,
    plan_id: UUID,
    action_id: UUID,
    agent: Agent,
    session: Session,
    tool: str,
    config: Mapping[str, Any],
    args: Mapping[str, Any],
    digest: str,
) -> Grant:
    """Write the grant under which a plan is made: its own, so that it never stands in the way of the start's.

    It ends like any other, by whoever made the plan or by the clock. Appends `grant.minted`. Raises
    Refused("invalid") when the issuer may not grant what is asked.
    """
    grant_id, now = uuid4(), dbtime.now()
    try:
        scope = ISSUERS[ISSUER].scope(grant_id=grant_id, config=config, args=args)
    except IssuerFailed as error:
        raise Refused("invalid", str(error)) from None
    with transaction.atomic():
        grant = Grant.objects.create(
            id=grant_id, action_id=plan_id, agent=agent, session_id=session.id, tool=tool, digest=digest,
            issuer=ISSUER, scope=scope, minted_at=now, expires_at=now + LIFE,
        )  # fmt: skip
        body = {"grant": str(grant.id), "issuer": ISSUER, "scope": scope, "digest": digest, "for": "a plan"}
        record.append(
            kind="grant.minted", actor="agentsec", session=session, action=str(action_id),
            body=body | {"expires_at": grant.expires_at.isoformat()}, title=f"Grant to plan {tool}",
        )  # fmt: skip
    return grant
