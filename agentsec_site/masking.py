"""The last gate: no answer of the site carries the value of a stored secret, whatever let it come so far.

What comes in is masked before it is stored. This looks at what was stored before its value became a secret,
and at what a fault elsewhere lets through.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from policies import secretvalues

TEXTS = ("text/", "application/json", "application/problem+json", "application/xml", "image/svg+xml")
logger = logging.getLogger(__name__)


class MaskingMiddleware:
    """Masks texts; what cannot be looked at because the database is away is not sent, but for errors, which
    are written here and hold nothing.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if not isinstance(response, HttpResponse) or not _is_text(response) or not response.content:
            return response
        try:
            known = secretvalues.recent()
        except DatabaseError:
            return response if response.status_code >= 500 else _withheld()
        content = known.masked_bytes(response.content)
        if content != response.content:
            logger.warning("%s %s: a stored secret was masked in the answer", request.method, request.path)
            response.content = content
            if response.has_header("Content-Length"):
                response["Content-Length"] = str(len(content))
        return response


def _is_text(response: HttpResponse) -> bool:
    return response.get("Content-Type", "").startswith(TEXTS) and not response.has_header("Content-Encoding")


def _withheld() -> HttpResponse:
    return HttpResponse("The database does not answer; try again.\n", status=503, content_type="text/plain")
