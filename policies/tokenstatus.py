"""Which tokens still hold: signed status lists that verifiers fetch, and answers about one token.

The lists are Token Status Lists (draft-ietf-oauth-status-list): a signed token with a compressed array, two
bits a token. Each is made from the grants when it is asked for, so whatever ended a grant shows at once.
A number that was given out and is no living token of ours reads as invalid: a row that is missing ends a
token and never keeps it alive. Numbers that nobody has yet read as valid, or a list that a verifier
keeps for some seconds would speak against the next token.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Exists, Max, OuterRef, Q

from policies import jose, limits, signing_keys
from policies.models import Agent, AgentKey, Grant, IssuedToken, Switch, Tool
from traces import dbtime, record
from traces.models import Entry

VALID, INVALID, SUSPENDED = 0, 1, 2
BITS, SIZE = 2, 1 << 16
TTL = timedelta(seconds=5)
LIFE = timedelta(minutes=1)
TYP = "statuslist+jwt"
TOKEN_TYP = "at+jwt"
PATH = "/token-status"


def site() -> str:
    """Who signs, as `iss` names them: the address of this site, without a slash at its end."""
    return str(settings.AGENTSEC_URL).rstrip("/")


def address(number: int) -> str:
    return f"{site()}{PATH}/{number}"


def reference(token: IssuedToken) -> dict[str, Any]:
    """The claim `status` of a token: its list and its place there."""
    number, place = divmod(token.pk, SIZE)
    return {"status_list": {"idx": place, "uri": address(number)}}


def numbers(now: datetime) -> list[int]:
    """The lists that speak of tokens which may still be alive, and the newest."""
    alive = IssuedToken.objects.filter(expires_at__gt=now - signing_keys.LEEWAY)
    places = alive.values_list("pk", flat=True)
    return sorted({place // SIZE for place in places} | {_newest() // SIZE})


def status_list(number: int, now: datetime) -> str | None:
    """A status list as a signed token, None where there is none of this number.

    Raises Refused("unavailable") where nothing can be signed.
    """
    newest = _newest()
    if not 0 <= number <= newest // SIZE:
        return None
    key = signing_keys.signer(now)
    body = {"bits": BITS, "lst": packed(_statuses(number, newest, now))}
    claims = {
        "iss": site(), "sub": address(number), "iat": int(now.timestamp()),
        "exp": int((now + LIFE).timestamp()), "ttl": int(TTL.total_seconds()), "status_list": body,
    }  # fmt: skip
    return jose.signed(claims, key=key, typ=TYP)


def packed(statuses: bytearray) -> str:
    """The array, the first token in the lowest bits of the first byte, as zlib data in base64url."""
    return base64.urlsafe_b64encode(zlib.compress(bytes(statuses), 9)).rstrip(b"=").decode()


def introspect(token: str, *, agent: Agent | None = None) -> dict[str, Any]:
    """The answer of RFC 7662: the claims of a token that holds at this moment, else only that it does not.

    For an agent, only what it says of the agent's own tokens. Raises Refused("unavailable").
    """
    try:
        claims = jose.verified(token, keys=signing_keys.published(), typ=TOKEN_TYP, issuer=site())
    except jose.NotValid:
        return {"active": False}
    digest, now = hashlib.sha256(token.encode()).hexdigest(), dbtime.now()
    # By its digest too: what somebody else signed with a stolen key was never handed out.
    mine = IssuedToken.objects.filter(sha256=digest, grant_id=claims["jti"], expires_at__gt=now)
    if agent is not None:
        mine = mine.filter(grant__agent=agent)
    alive = mine.exclude(_ended(now)).exclude(_held(now)).values_list("grant_id", "grant__action_id")
    if not _unended(list(alive)):
        return {"active": False}
    return {"active": True, "token_type": token_type(claims), **claims}


def token_type(claims: Mapping[str, Any]) -> str:
    """How the token is shown to its service: one that is bound to a key, with proof of it (RFC 9449)."""
    return "DPoP" if "cnf" in claims else "Bearer"


def _statuses(number: int, newest: int, now: datetime) -> bytearray:
    first = number * SIZE
    given = min(max(newest + 1 - first, 0), SIZE)
    per_byte = 8 // BITS
    array = bytearray(
        b"\x55" * (given // per_byte) + bytes((SIZE - given) // per_byte + (given % per_byte > 0))
    )
    for place in range(given - given % per_byte, given):
        _set(array, place, INVALID)
    tokens = IssuedToken.objects.filter(pk__gte=first, pk__lt=first + SIZE, expires_at__gt=now)
    alive = tokens.exclude(_ended(now))
    held = set(alive.filter(_held(now)).values_list("pk", flat=True))
    rows = list(alive.values_list("pk", "grant_id", "grant__action_id"))
    unended = _unended([(grant, action) for _, grant, action in rows])
    for pk, grant, _ in rows:
        if grant in unended:
            _set(array, pk - first, SUSPENDED if pk in held else VALID)
    return array


def _unended(alive: Sequence[tuple[UUID, UUID]]) -> set[UUID]:
    """Those grants (each with its action) of which the log does not hold that they ended: writing into the
    database brings none back.
    """
    told = Entry.objects.filter(kind="grant.revoked", action_id__in=[str(action) for _, action in alive])
    ended = {record.as_sealed(entry)[1].get("grant") for entry in told.select_related("subject_key")}
    return {grant for grant, _ in alive if str(grant) not in ended}


def _set(array: bytearray, place: int, status: int) -> None:
    at, shift = divmod(place * BITS, 8)
    array[at] = array[at] & ~(((1 << BITS) - 1) << shift) | status << shift


def _newest() -> int:
    return int(IssuedToken.objects.aggregate(newest=Max("pk"))["newest"] or 0)


def _ended(now: datetime) -> Q:
    return ~Q(grant__state=Grant.State.ACTIVE) | Q(grant__expires_at__lte=now)


def _held(now: datetime) -> Q:
    """Stopped for the moment, by whatever would keep the agent from starting it now; it may hold again."""
    keys = AgentKey.objects.usable(now).filter(agent=OuterRef("grant__agent"))
    tool = Tool.objects.filter(name=OuterRef("grant__tool"))
    reads = Q(Exists(tool.filter(effect=Tool.Effect.READ)))
    held = Q(grant__agent__mode=Agent.Mode.PAUSED) | Q(grant__agent__mode=Agent.Mode.READ_ONLY) & ~reads
    held |= ~Q(Exists(keys)) | Q(Exists(tool.filter(paused=True)))
    for scope in Switch.objects.values_list("scope", flat=True):
        held |= _covered(scope)
    return held


def _covered(scope: str) -> Q:
    kind, _, name = scope.partition(":")
    fields = {"agent": "grant__agent__name", "group": "grant__agent__team__name", "tool": "grant__tool"}
    return Q(pk__isnull=False) if scope == limits.EVERYTHING else Q(**{fields[kind]: name})
