"""The last gate: no answer of the site carries the value of a stored secret, and no form brings one in.

What agents and tools bring in is masked or blocked where it is read. Answers are looked at for what was
stored before its value became a secret, and for what a fault elsewhere lets through.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render

from agentsec_site.gateway.problems import PREFIX, problem
from policies import secretvalues
from traces.problems import HTTP_STATUS

TEXTS = ("text/", "application/json", "application/problem+json", "application/xml", "image/svg+xml")
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data", "application/json")
# Where values are given on purpose, tried out, or happen to be somebody's password.
DOORS = ("/policies/credentials/secret/", "/admin/policies/secret/", f"{PREFIX}v1/credentials/secret/",
         "/firewall", f"{PREFIX}v1/firewall/", "/account/notifications", "/policies/notifications",
         "/sign-in", "/welcome/", "/reset")  # fmt: skip
AGENT = "Bearer ask_"
logger = logging.getLogger(__name__)


class MaskingMiddleware:
    """Refuses what people send and masks what is answered. What cannot be looked at because the database is
    away is not sent, but for errors, which are written here and hold nothing.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        refusal = _refused(request) if _is_persons(request) else None
        response = self.get_response(request) if refusal is None else refusal
        if not isinstance(response, HttpResponse) or not _is_text(response) or not response.content:
            return response
        try:
            known = secretvalues.recent()
        except DatabaseError:
            return response if response.status_code >= 500 else _withheld()
        content = known.masked_bytes(response.content, quickly=True)
        if content != response.content:
            logger.warning("%s %s: a stored secret was masked in the answer", request.method, request.path)
            response.content = content
            if response.has_header("Content-Length"):
                response["Content-Length"] = str(len(content))
        return response


def _is_persons(request: HttpRequest) -> bool:
    """Whether a person sends words here; what agents send is judged where it is read, and told to people."""
    return (
        request.method not in ("GET", "HEAD", "OPTIONS")
        and request.content_type in FORMS
        and not request.headers.get("Authorization", "").startswith(AGENT)
        and not request.path_info.startswith(DOORS)
    )


def _refused(request: HttpRequest) -> HttpResponse | None:
    """The answer to a form that holds a value: it would stand where comments and notes are kept."""
    try:
        names = secretvalues.recent().names(request.body.decode("utf-8", "surrogateescape"))
    except DatabaseError:
        return _withheld()
    if not names:
        return None
    why = f"This holds the value of the secret {names[0]}. Name the secret, and leave its value out."
    if request.path_info.startswith(PREFIX):
        return problem("invalid", why)
    return render(None, "site/withheld.html", {"why": why}, status=HTTP_STATUS["invalid"])


def _is_text(response: HttpResponse) -> bool:
    return response.get("Content-Type", "").startswith(TEXTS) and not response.has_header("Content-Encoding")


def _withheld() -> HttpResponse:
    return HttpResponse("The database does not answer; try again.\n", status=503, content_type="text/plain")
