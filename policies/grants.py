"""Grants: a privilege for one action, bound to its digest, that lives minutes and always ends.

The row is written (and logged) in the transaction that starts the action, before anything outside is made;
whatever is made is named after the grant's id. So a crash at any point leaves a row that the reaper ends.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models import F

from policies.issuers import ISSUERS, Issued, IssuerFailed
from policies.models import Agent, Grant
from policies.tooling import ToolDef
from traces import dbtime, record
from traces.models import Session
from traces.problems import Refused

DEFAULT_MINUTES = 5
MAX_MINUTES = 60
LONGEST_PAUSE = timedelta(minutes=5)
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Handed:
    """A grant as the agent gets it; `private` exists in this answer only."""

    id: UUID
    issuer: str
    expires_at: datetime
    public: Mapping[str, Any]
    private: Mapping[str, Any] = field(repr=False)


def mint(
    *,
    action_id: UUID,
    agent: Agent,
    session: Session,
    tool: ToolDef,
    args: Mapping[str, Any],
    digest: str,
    fence: int,
) -> Grant:
    """Write the grant of a starting action; the caller's transaction has the action's row locked.

    Appends `grant.minted`. Raises Refused("invalid") when the issuer may not grant what is asked, and the
    database refuses a second living grant of one action.
    """
    config = dict(tool.config)
    grant_id, name = uuid4(), str(config.get("issuer") or "none")
    if name not in ISSUERS:
        raise Refused("unavailable", f"no issuer is called “{name}”")
    try:
        scope = ISSUERS[name].scope(grant_id=grant_id, config=config, args=args)
    except IssuerFailed as error:
        raise Refused("invalid", str(error)) from None
    now = dbtime.now()
    grant = Grant.objects.create(
        id=grant_id, action_id=action_id, agent=agent, session_id=session.id, tool=tool.name, digest=digest,
        issuer=name, scope=scope, fence=fence, minted_at=now, expires_at=now + _life(config, args),
    )  # fmt: skip
    body = {
        "grant": str(grant.id), "issuer": name, "scope": scope, "digest": digest, "fence": fence,
        "agent": agent.name, "tool": tool.name,
    }  # fmt: skip
    record.append(
        kind="grant.minted", actor="agentsec", session=session, action=str(action_id),
        body=body | {"expires_at": grant.expires_at.isoformat()}, title=f"Grant for {tool.name}",
    )  # fmt: skip
    return grant


def _life(config: Mapping[str, Any], args: Mapping[str, Any]) -> timedelta:
    """Minutes as the tool says; a call may ask for fewer."""
    longest = min(int(config.get("minutes") or DEFAULT_MINUTES), MAX_MINUTES)
    asked = args.get("minutes")
    wanted = asked if isinstance(asked, int) and not isinstance(asked, bool) and asked > 0 else longest
    return timedelta(minutes=min(wanted, longest))


def issue(grant: Grant) -> Handed:
    """Make what the grant stands for, outside any transaction. Raises Refused: unavailable, or gone where the
    grant ended while it was being made; the caller revokes either way.
    """
    try:
        issued: Issued = ISSUERS[grant.issuer].issue(scope=grant.scope, expires_at=grant.expires_at)
    except IssuerFailed as error:
        raise Refused("unavailable", str(error)) from None
    if alive(action_id=grant.action_id) != grant:
        _take_back(grant)
        raise Refused("gone", "the grant ended while it was being made")
    return Handed(
        id=grant.id,
        issuer=grant.issuer,
        expires_at=grant.expires_at,
        public=issued.public,
        private=issued.private,
    )


def _take_back(grant: Grant) -> None:
    """Whoever ended the grant looked for something to take back before it was there."""
    problem = _taken_back(grant)
    if problem:
        Grant.objects.filter(id=grant.id, state=Grant.State.REVOKED).update(state=Grant.State.REVOKING)
        _failed(grant, problem)


def _taken_back(grant: Grant) -> str:
    """Ask the issuer to take back what it made; why that failed, "" where it is gone."""
    try:
        ISSUERS[grant.issuer].revoke(scope=grant.scope)
    except (IssuerFailed, Refused) as error:
        return str(error)
    except KeyError:
        return f"no issuer is called “{grant.issuer}” any more"
    except Exception as error:
        # Whatever its issuer stumbled over, this grant is tried again, and the others have their turn.
        logger.exception("the issuer %s failed", grant.issuer)
        return f"the issuer {grant.issuer} failed ({type(error).__name__}); see the log of this process"
    return ""


def use(*, action_id: UUID, digest: str, fence: int) -> Grant:
    """Consume the grant of an action: once, alive, for this digest and this start. Raises Refused("gone")."""
    now = dbtime.now()
    alive = Grant.objects.filter(
        action_id=action_id,
        digest=digest,
        fence=fence,
        state=Grant.State.ACTIVE,
        expires_at__gt=now,
        used_at=None,
    )
    if alive.update(used_at=now) != 1:
        raise Refused("gone", "the grant of this action has ended, was used, or is for something else")
    return Grant.objects.get(action_id=action_id, fence=fence, digest=digest)


def alive(*, action_id: UUID) -> Grant | None:
    """The action's grant if it still holds."""
    return Grant.objects.filter(
        action_id=action_id, state=Grant.State.ACTIVE, expires_at__gt=dbtime.now()
    ).first()


def hold(*, action_id: UUID, fence: int) -> Grant:
    """The living grant of this start, its row locked until the transaction ends. Raises Refused("gone")."""
    rows = Grant.objects.select_for_update(no_key=True).filter(action_id=action_id, fence=fence)
    grant = rows.filter(state=Grant.State.ACTIVE, expires_at__gt=dbtime.now()).first()
    if grant is None:
        raise Refused("gone", "the grant of this action has ended: nothing was changed")
    return grant


def revoke(*, grant: Grant, why: str, actor: str = "agentsec") -> bool:
    """End a grant, with all that was opened by it. True when it is gone, False when it must be tried again.

    Three committed steps, so that a crash between any two is picked up by the reaper: marked as ending
    (nobody can use it from here on), taken back by the issuer, marked as ended. What cannot be taken back is
    tried again, later each time. Appends `grant.revoked` or `grant.revoke_failed`. Ending an ended grant
    changes nothing.
    """
    Grant.objects.filter(id=grant.id, state=Grant.State.ACTIVE).update(
        state=Grant.State.REVOKING, why=why[:300]
    )
    grant.refresh_from_db()
    if grant.state == Grant.State.REVOKED:
        return True
    if problem := _taken_back(grant):
        _failed(grant, problem)
        return False
    with transaction.atomic():
        ended = Grant.objects.filter(id=grant.id, state=Grant.State.REVOKING)
        if ended.update(state=Grant.State.REVOKED, revoked_at=dbtime.now(), retry_at=None, problem=""):
            body = {"grant": str(grant.id), "why": grant.why, "failed_before": grant.attempts}
            _log(grant, kind="grant.revoked", body=body, actor=actor)
    return True


def _failed(grant: Grant, why: str) -> None:
    """Count the attempt and put the next one off: 1, 2, 4 … seconds, five minutes at most."""
    Grant.objects.filter(id=grant.id).update(attempts=F("attempts") + 1, problem=why[:300])
    grant.refresh_from_db()
    pause = min(timedelta(seconds=1 << min(grant.attempts - 1, 20)), LONGEST_PAUSE)
    Grant.objects.filter(id=grant.id, state=Grant.State.REVOKING).update(retry_at=dbtime.now() + pause)
    logger.error("grant %s cannot be revoked (attempt %s): %s", grant.id, grant.attempts, why)
    if grant.attempts & (grant.attempts - 1) == 0:  # 1, 2, 4, 8 …: an alert, not a flood
        with transaction.atomic():
            body = {"grant": str(grant.id), "why": why, "attempts": grant.attempts}
            _log(grant, kind="grant.revoke_failed", body=body, actor="agentsec")


def _log(grant: Grant, *, kind: str, body: dict[str, Any], actor: str) -> None:
    session = Session.objects.filter(id=grant.session_id).first() if grant.session_id else None
    title = f"Grant for {grant.tool} {'ended' if kind == 'grant.revoked' else 'could not be ended'}"
    record.append(
        kind=kind, actor=actor, session=session, action=str(grant.action_id), body=body, title=title
    )
