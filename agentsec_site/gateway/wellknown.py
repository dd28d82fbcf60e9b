"""What services fetch to verify tokens: the public keys, the metadata, the status lists. Public, read only.

JWK Set (RFC 7517), authorization server metadata (RFC 8414), Token Status List
(draft-ietf-oauth-status-list). Nothing here says whose tokens they are or what they are for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from agentsec_site.gateway import problems
from policies import releases, signing_keys, tokenstatus, tokenterms
from traces import dbtime
from traces.problems import Refused

KEYS_AGE = int(signing_keys.MAX_AGE.total_seconds())
STATUS_AGE = int(tokenstatus.TTL.total_seconds())

View = Callable[..., HttpResponse]


def _public(view: View) -> View:
    """A view for everybody, read only, whose refusals are problem documents and are not kept."""

    @wraps(view)
    def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except Refused as refused:
            told = problems.problem(refused.code, refused.detail)
        except DatabaseError:
            told = problems.problem("unavailable", "The database does not answer; try again.", retry_after=2)
        told["Cache-Control"] = "no-store"
        return told

    return require_safe(answered)


@_public
def jwks(request: HttpRequest) -> HttpResponse:
    """Every key whose tokens may be alive, and the one that takes over next."""
    keys = signing_keys.published()
    body = problems.encode({"keys": [keys[kid].jwk for kid in sorted(keys)]})
    return _kept(request, body, "application/jwk-set+json", KEYS_AGE)


@_public
def metadata(request: HttpRequest) -> HttpResponse:
    """What there is, and no more: tokens come with an action's answer, so there is no endpoint that asks for
    one."""
    site = tokenstatus.site()
    told = {
        "issuer": site,
        "jwks_uri": site + reverse("jwks"),
        "response_types_supported": [],
        "grant_types_supported": [],
        "introspection_endpoint": site + reverse("api:introspect"),
        "introspection_endpoint_auth_methods_supported": ["Bearer"],
        "authorization_details_types_supported": _types(),
        "status_list_aggregation_endpoint": site + reverse("token-status"),
        "service_documentation": site + reverse("api:openapi-view"),
    }
    return _kept(request, problems.encode(told), "application/json", KEYS_AGE)


@_public
def status_lists(request: HttpRequest) -> HttpResponse:
    """Where the status lists are that speak of tokens which may be alive."""
    uris = [tokenstatus.address(number) for number in tokenstatus.numbers(dbtime.now())]
    return _kept(request, problems.encode({"status_lists": uris}), "application/json", STATUS_AGE)


@_public
def status_list(request: HttpRequest, number: int) -> HttpResponse:
    """One status list, signed anew at each call."""
    token = tokenstatus.status_list(number, dbtime.now())
    if token is None:
        raise Refused("not_found", "There is no such status list.")
    return _kept(request, token.encode(), f"application/{tokenstatus.TYP}", STATUS_AGE)


def _types() -> list[str]:
    tools = (tool for tool in releases.current().tools.values() if tool.config.get("issuer") == "token")
    return sorted({str((tool.config.get("token") or {}).get("type", tokenterms.TYPE)) for tool in tools})


def _kept(request: HttpRequest, body: bytes, media_type: str, age: int) -> HttpResponse:
    """An answer that anybody may keep for `age` seconds, or that what the caller has is still right."""
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    known = {part.strip().removeprefix("W/") for part in request.headers.get("If-None-Match", "").split(",")}
    same = tag in known or "*" in known
    response = HttpResponse(status=304) if same else HttpResponse(body, content_type=media_type)
    response["ETag"], response["Cache-Control"] = tag, f"public, max-age={age}"
    # Browsers of the services' own people may read what everybody may.
    response["Access-Control-Allow-Origin"] = "*"
    return response
