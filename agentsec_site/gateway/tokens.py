"""Signed tokens: introspection (RFC 7662), for services that would rather ask than verify, and the keys that
sign them, for people who look after them.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from django.http import HttpRequest, HttpResponse
from ninja import Router
from pydantic import BaseModel, ConfigDict, Field

from agentsec_site.gateway import auth
from agentsec_site.gateway.intake import raw_body
from agentsec_site.gateway.replies import reply
from agentsec_site.gateway.schemas import ERRORS, NOTHING, Nothing, Strict
from policies import signing_keys, tokenstatus
from policies.access import Verb, actor, require
from traces import dbtime
from traces.problems import Refused

FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 10
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "properties": {"token": {"type": "string"}, "token_type_hint": {"type": "string"}},
                    "required": ["token"],
                }
            }
        },
    }
}

router = Router(tags=["tokens"])


class IntrospectionOut(BaseModel):
    """`active`, and the claims of a token that is."""

    model_config = ConfigDict(extra="allow")

    active: bool


class SigningKeyOut(BaseModel):
    kid: str
    alg: str
    state: str = Field(description="signing, announced, or published for what it signed before.")
    created_at: datetime
    signs_from: datetime
    signs_until: datetime | None
    last_used_at: datetime | None
    uses: int
    living_tokens: int
    rotates_at: datetime | None


class SigningKeysOut(BaseModel):
    keys: list[SigningKeyOut]


class RotationIn(Strict):
    at_once: bool = Field(False, description="Sign with the new key now, before verifiers had time for it.")


@router.get("/signing-keys", auth=auth.people, response={200: SigningKeysOut, **ERRORS})
def list_signing_keys(request: HttpRequest) -> HttpResponse:
    """The keys that sign tokens, newest first, with age and use."""
    require(auth.person(request), Verb.ACCOUNTS_READ)
    return reply({"keys": [asdict(key) for key in signing_keys.listed(dbtime.now())]})


@router.post("/signing-keys", auth=auth.people, response={200: SigningKeysOut, **ERRORS})
def rotate_signing_key(request: HttpRequest, body: RotationIn) -> HttpResponse:
    """Publish a new key, which takes over in ten minutes. 409 while one does so already."""
    user = require(auth.person(request), Verb.KEYS_EDIT)
    signing_keys.rotate(by=actor(user), at_once=body.at_once)
    return list_signing_keys(request)


@router.delete("/signing-keys/{kid}", auth=auth.people, response={204: None, **ERRORS})
def remove_signing_key(request: HttpRequest, kid: str, body: Nothing = NOTHING) -> HttpResponse:
    """Publish a key no more, for one in wrong hands: its tokens end."""
    user = require(auth.person(request), Verb.KEYS_EDIT)
    signing_keys.remove(kid=kid, by=actor(user))
    return HttpResponse(status=204)


@router.post(
    "/introspect", auth=auth.anyone, response={200: IntrospectionOut, **ERRORS}, openapi_extra=BODY,
    url_name="introspect",
)  # fmt: skip
def introspect(request: HttpRequest) -> HttpResponse:
    """Whether a token holds at this moment, and what it says (RFC 7662).

    Of whatever does not hold, and of another agent's token where an agent asks, the answer is only that.
    """
    caller = auth.caller(request)
    agent = None
    if isinstance(caller, auth.PersonCaller):
        require(caller.user, Verb.TOKEN_ASK)
    else:
        agent = caller.agent
    return reply(tokenstatus.introspect(_token(request), agent=agent))


def _token(request: HttpRequest) -> str:
    """The field `token` of the form. Raises Refused: media_type, malformed, invalid."""
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != FORM:
        raise Refused("media_type", f"The body must be {FORM}.")
    try:
        fields = parse_qsl(
            raw_body(request).decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict",
            max_num_fields=MAX_FIELDS,
        )  # fmt: skip
    except ValueError:
        raise Refused("malformed", "The form cannot be read.") from None
    found = [value for name, value in fields if name == "token"]
    if len(found) != 1:
        raise Refused("invalid", "The form needs the field token, once.")
    return found[0]
