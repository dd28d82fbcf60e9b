"""Issuer `token`: a signed JSON web token for one grant, which the user's own service verifies offline.

An access token in the form of RFC 9068 (`at+jwt`) for the one audience that the tool names, with what
exactly is granted in `authorization_details` (RFC 9396) and its place in the status lists in `status`. Its
`jti` is the grant's id and it ends no later than the grant; whatever ends the grant shows in the status
lists, since they are made from the grants, so that there is nothing to take back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from policies import jose, signing_keys, tokenstatus, tokenterms
from policies.issuers.base import Issued, Issuer, IssuerFailed
from policies.models import Grant, IssuedToken
from traces import dbtime, record
from traces.models import Entry, Session
from traces.problems import Refused

TYP = "at+jwt"


class _Token:
    def scope(self, *, grant_id: UUID, config: Mapping[str, Any], args: Mapping[str, Any]) -> dict[str, Any]:
        try:
            terms = tokenterms.read(config.get("token"))
            details = tokenterms.details(terms, args=args)
            cnf = tokenterms.confirmation(terms, args=args)
        except tokenterms.TermsRefused as refused:
            raise IssuerFailed(f"no token can be made for this call: {refused}") from None
        return {
            "grant": str(grant_id), "audience": terms.audience, "actions": list(terms.actions),
            "details": details, "cnf": cnf,
        }  # fmt: skip

    def issue(self, *, scope: Mapping[str, Any], expires_at: datetime) -> Issued:
        try:
            with transaction.atomic():
                return _issued(scope, expires_at)
        except Refused as refused:
            raise IssuerFailed(refused.detail) from None

    def revoke(self, *, scope: Mapping[str, Any]) -> None:
        return None


ISSUER: Issuer = _Token()


def _issued(scope: Mapping[str, Any], expires_at: datetime) -> Issued:
    now = dbtime.now()
    # Taken first: it keeps tokens in the order of their numbers, and a second one for this grant waiting.
    row, key = signing_keys.take(now)
    grant = Grant.objects.filter(pk=str(scope["grant"])).first()
    if grant is None:
        raise IssuerFailed("there is no such grant")
    minted = _minted(grant)
    until = min(expires_at, grant.expires_at, datetime.fromisoformat(minted["expires_at"]))
    begins, ends = int(now.timestamp()), int(until.timestamp())
    if grant.state != Grant.State.ACTIVE or ends <= begins:
        raise IssuerFailed("the grant has ended")
    if IssuedToken.objects.filter(grant=grant).exists():
        raise IssuerFailed("the token of this grant was handed out already, and is shown only once")
    place = IssuedToken.objects.create(grant=grant, kid=row.kid, expires_at=until)
    claims = _claims(grant, minted) | {"iat": begins, "nbf": begins, "exp": ends}
    token = jose.signed(claims | {"status": tokenstatus.reference(place)}, key=key, typ=TYP)
    place.sha256 = hashlib.sha256(token.encode()).hexdigest()
    place.save(update_fields=["sha256"])
    _log(grant, place, claims)
    public = {
        "token_type": tokenstatus.token_type(claims), "expires_in": ends - begins,
        "authorization_details": claims["authorization_details"],
    }  # fmt: skip
    return Issued(public=public, private={"access_token": token})


def _minted(grant: Grant) -> Mapping[str, Any]:
    """What the log holds of the grant: a token says that, whatever stands in the row by now."""
    entries = Entry.objects.about(str(grant.action_id)).filter(kind="grant.minted")
    for entry in entries.select_related("subject_key"):
        header, body = record.as_sealed(entry)
        if body.get("grant") == str(grant.pk) and header.get("action") == str(grant.action_id):
            return body | {"session": header.get("session")}
    raise IssuerFailed("the log does not hold that this grant was minted: it was altered outside agentsec")


def _claims(grant: Grant, minted: Mapping[str, Any]) -> dict[str, Any]:
    scope = minted["scope"]
    detail = dict(scope["details"]) | {
        "actions": scope["actions"] or [minted["tool"]], "tool": minted["tool"], "digest": minted["digest"],
    }  # fmt: skip
    return {
        "iss": tokenstatus.site(), "sub": minted["agent"], "client_id": minted["agent"],
        "aud": scope["audience"], "jti": str(grant.pk), "sid": minted["session"], "txn": str(grant.action_id),
        "authorization_details": [detail], **({"cnf": scope["cnf"]} if scope["cnf"] else {}),
    }  # fmt: skip


def _log(grant: Grant, place: IssuedToken, claims: Mapping[str, Any]) -> None:
    body = {
        "grant": str(grant.pk), "kid": place.kid, "audience": claims["aud"], "sha256": place.sha256,
        "expires_at": claims["exp"], "status": place.pk,
    }  # fmt: skip
    session = Session.objects.filter(pk=grant.session_id).first() if grant.session_id else None
    record.append(
        kind="token.issued", actor="agentsec", session=session, action=str(grant.action_id), body=body,
        title=f"Token for {grant.tool} handed out",
    )  # fmt: skip
