"""Token introspection (RFC 7662): for services that would rather ask than verify."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from django.http import HttpRequest, HttpResponse
from ninja import Router
from pydantic import BaseModel, ConfigDict

from agentsec_site.gateway import auth
from agentsec_site.gateway.intake import raw_body
from agentsec_site.gateway.replies import reply
from agentsec_site.gateway.schemas import ERRORS
from policies import tokenstatus
from policies.access import Verb, require
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
