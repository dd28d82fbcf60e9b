"""Links by which the person whom a session serves comes to their own page, without an account.

A host application makes one and shows it to its user. Opening it takes a POST, since mail scanners and
previews open whatever they find; it works once, and from then on a cookie of that one browser holds it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from approvals import word
from approvals.word_models import ConfirmationLink
from policies import tokens
from policies.models import AgentKey
from traces import dbtime, record
from traces.models import Session
from traces.problems import Refused

LINK_MINUTES = 30
LONGEST_MINUTES = 24 * 60
MANY, PER = 30, timedelta(minutes=10)
NO_LINK = "This link was opened already, has expired, or never was one. Ask the application for a new one."


@dataclass(frozen=True)
class Made:
    """A link as it is handed out, once."""

    url: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True)
class Opened:
    """A link that was opened, and the secret that its browser keeps."""

    link: ConfirmationLink
    secret: str = field(repr=False)


@transaction.atomic
def make(*, key: AgentKey, session: Session, minutes: int = LINK_MINUTES) -> Made:
    """A link for whom the session serves; one that nobody opened yet stops working.

    Locks the session. Appends `confirmation.link_made`. Raises Refused: forbidden (no `attest`), conflict (a
    session in which nobody's word counts), invalid (minutes), limit (too many).
    """
    _refuse_foreign(key, session)
    if why := word.obstacle(session):
        raise Refused("conflict", f"nobody’s word counts here: {why}")
    if not 1 <= minutes <= LONGEST_MINUTES:
        raise Refused("invalid", f"A link lives 1 to {LONGEST_MINUTES} minutes.")
    now = dbtime.now()
    of_session = ConfirmationLink.objects.filter(session=session)
    if of_session.filter(created_at__gt=now - PER).count() >= MANY:
        raise Refused("limit", f"At most {MANY} links in {PER.seconds // 60} minutes.")
    of_session.filter(opened_at=None, revoked_at=None).update(revoked_at=now)
    minted = tokens.mint("lnk")
    link = ConfirmationLink.objects.create(
        session=session, key=key, sha256=minted.sha256, expires_at=now + timedelta(minutes=minutes)
    )
    body = {"link": str(link.pk), "key": key.prefix, "user": session.user, "sha256": link.sha256}
    record.append(
        kind=word.LINK_MADE, actor=f"host:{key.pk}", session=session,
        body={**body, "expires_at": link.expires_at.isoformat()},
        title=f"A link was made for {word.SERVED}",
    )  # fmt: skip
    return Made(f"{settings.AGENTSEC_URL.rstrip('/')}/mine/{minted.raw}", link.expires_at)


def peek(token: str) -> ConfirmationLink:
    """The link, unopened. Changes nothing. Raises Refused("gone"), alike for whatever does not work."""
    link = _of(token, "sha256") if tokens.well_formed(token, "lnk") else None
    if link is None or link.opened_at is not None:
        raise Refused("gone", NO_LINK)
    return link


@transaction.atomic
def redeem(token: str) -> Opened:
    """Open a link, once: of two who try only one gets in. Locks the link, then its session.

    Appends `confirmation.link_used`. Raises Refused("gone").
    """
    link = peek(token)
    minted = tokens.mint("lnk")
    # Locked and read anew: a guarded UPDATE across the join to its key would not see who was first.
    living = ConfirmationLink.objects.living(dbtime.now()).select_for_update(of=("self",))
    if living.filter(pk=link.pk, opened_at=None).first() is None:
        raise Refused("gone", NO_LINK)
    opened = {"opened_at": dbtime.now(), "cookie_sha256": minted.sha256}
    ConfirmationLink.objects.filter(pk=link.pk).update(**opened)
    _log("confirmation.link_used", f"link:{link.pk}", link, "opened their link")
    return Opened(link, minted.raw)


def holder(secret: str) -> ConfirmationLink | None:
    """The opened, living link that a browser's cookie holds; None for anything else."""
    return _of(secret, "cookie_sha256") if tokens.well_formed(secret, "lnk") else None


def opened_here(token: str, held: ConfirmationLink | None) -> bool:
    """Whether this very browser opened that link before."""
    return held is not None and tokens.well_formed(token, "lnk") and tokens.hashed(token) == held.sha256


@transaction.atomic
def leave(link: ConfirmationLink) -> None:
    """Whoever holds it is done. Appends `confirmation.link_ended`; leaving twice changes nothing.

    What they said stands.
    """
    now = dbtime.now()
    if ConfirmationLink.objects.living(now).filter(pk=link.pk).update(expires_at=now) == 1:
        _log(word.LINK_ENDED, f"link:{link.pk}", link, "left their page")


@transaction.atomic
def revoke(*, key: AgentKey, session: Session) -> int:
    """End every link of a session at once; how many. What was said through them and has not started no longer
    counts. Appends `confirmation.link_ended` for each. Raises Refused("forbidden") without `attest`.
    """
    _refuse_foreign(key, session)
    links = list(ConfirmationLink.objects.select_for_update().filter(session=session, revoked_at=None))
    for link in links:
        ConfirmationLink.objects.filter(pk=link.pk).update(revoked_at=dbtime.now())
        _log(word.LINK_ENDED, f"host:{key.pk}", link, "lost their link")
    return len(links)


def _of(raw: str, column: str) -> ConfirmationLink | None:
    living = ConfirmationLink.objects.living(dbtime.now()).select_related("session", "key")
    link = living.filter(**{column: tokens.hashed(raw)}).first()
    return None if link is None or word.obstacle(link.session) else link


def _refuse_foreign(key: AgentKey, session: Session) -> None:
    if not key.attests:
        raise Refused("forbidden", "Only a key with the scope “attest” makes and ends links.")
    if str(key.agent_id) != session.agent_id:
        raise Refused("not_found", "This agent has no such session.")


def _log(kind: str, actor: str, link: ConfirmationLink, what: str) -> None:
    record.append(
        kind=kind, actor=actor, session=link.session, body={"link": str(link.pk), "user": link.session.user},
        title=f"{word.SERVED.capitalize()} {what}",
    )  # fmt: skip
