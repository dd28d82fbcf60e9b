"""Every error of the API as an RFC 9457 problem document.

A refusal's code picks the HTTP status; its sentence and extra values are the document. What the program did
not foresee becomes a 500 that says nothing of the inside, and is logged.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DataError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.http.response import HttpResponseBase
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from policies.arguments import pointer
from traces.problems import HTTP_STATUS, Refused

PREFIX = "/api/"
MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 20
MAX_POINTER = 200

# What the doors add to the codes that verbs may raise.
STATUS: Mapping[str, int] = {
    **HTTP_STATUS,
    "malformed": 400,
    "method_not_allowed": 405,
    "too_slow": 408,
    "media_type": 415,
    "internal": 500,
}
TITLES: Mapping[str, str] = {
    "invalid": "The request is not what this call takes",
    "malformed": "The request cannot be read",
    "not_found": "There is no such thing here",
    "conflict": "The state does not allow it",
    "blocked": "Blocked by policy",
    "limit": "A limit is reached",
    "forbidden": "Not allowed",
    "unauthorized": "Unknown caller",
    "gone": "It is no more",
    "unavailable": "A part is not available",
    "too_large": "The request is too large",
    "method_not_allowed": "This path does not take that method",
    "too_slow": "The request did not arrive in time",
    "media_type": "This media type is not taken",
    "internal": "The server failed",
}
CODES: Mapping[int, str] = {status: code for code, status in STATUS.items() if code not in ("blocked",)}

logger = logging.getLogger(__name__)


def document(code: str, detail: str, **extra: Any) -> dict[str, Any]:
    """The members of a problem document; `extra` may add to them and never replaces them."""
    return {
        **extra,
        "type": f"{settings.AGENTSEC_URL}/api/v1/docs#problem-{code}",
        "title": TITLES.get(code, "Refused"),
        "status": STATUS.get(code, 400),
        "code": code,
        "detail": detail,
    }


def problem(
    code: str, detail: str, *, headers: Mapping[str, str] | None = None, **extra: Any
) -> HttpResponse:
    """A problem document as a response. `retry_after` (seconds) in `extra` also becomes the header."""
    body = document(code, detail, **extra)
    response = HttpResponse(encode(body), status=body["status"], content_type=MEDIA_TYPE, headers=headers)
    # Django would log each of these as an error of ours, a full log is no use to anybody.
    response._has_been_logged = True  # type: ignore[attr-defined]
    if isinstance(wait := extra.get("retry_after"), int | float):
        response["Retry-After"] = str(max(1, math.ceil(wait)))
    if code == "unauthorized":
        response.headers.setdefault("WWW-Authenticate", 'Bearer realm="agentsec"')
    return response


def encode(value: Any) -> bytes:
    """JSON in ASCII: what tools printed may hold lone surrogates, which UTF-8 cannot carry."""
    return json.dumps(value, cls=_Encoder, allow_nan=False).encode("ascii")


class _Encoder(DjangoJSONEncoder):
    def default(self, o: Any) -> Any:
        if isinstance(o, Mapping):
            return dict(o)
        if isinstance(o, Iterable):
            return list(o)
        return super().default(o)


def install(api: NinjaAPI) -> None:
    """Teach an API to answer every exception with a problem document."""
    handlers: dict[type[Exception], Callable[[HttpRequest, Any], HttpResponse]] = {
        Refused: _refused,
        ValidationError: _invalid,
        AuthenticationError: _unauthenticated,
        HttpError: _http_error,
        Http404: lambda request, error: problem("not_found", "There is nothing at this address."),
        SuspiciousOperation: _suspicious,
        UnreadablePostError: lambda request, error: problem("malformed", "The body ended early."),
        DataError: _data_error,
        OperationalError: _database_gone,
        InterfaceError: _database_gone,
        Exception: _failed,
    }
    for kind, handler in handlers.items():
        api.add_exception_handler(kind, handler)


def _refused(request: HttpRequest, error: Refused) -> HttpResponse:
    return problem(error.code, error.detail, **error.extra)


def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    if any(item["loc"][0] == "path" for item in error.errors):
        return problem("not_found", "There is nothing at this address.")
    found = [_error(item) for item in error.errors[:MAX_ERRORS]]
    detail = "; ".join(f"{item['pointer'] or 'body'}: {item['detail']}" for item in found[:3])
    return problem("invalid", detail, errors=found, error_count=len(error.errors))


def _error(item: Mapping[str, Any]) -> dict[str, str]:
    """One field at fault: a JSON Pointer into the body, or `?name` for a parameter of the query."""
    source, *steps = item["loc"]
    if source == "query":
        where = "?" + ".".join(map(str, steps))
    else:
        where = pointer([step for step in steps[1:] if not str(step).startswith("function-")])
    return {"pointer": where[:MAX_POINTER], "detail": str(item["msg"])[:MAX_POINTER]}


def _unauthenticated(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    return problem("unauthorized", "This call needs “Authorization: Bearer <key>”.")


def _http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    """ninja hides why a body could not be parsed behind its own error; the cause knows better."""
    if isinstance(error.__cause__, Refused):
        return _refused(request, error.__cause__)
    if error.__cause__ is not None:
        return _failed(request, error)
    return problem(CODES.get(error.status_code, "malformed"), error.message)


def _suspicious(request: HttpRequest, error: SuspiciousOperation) -> HttpResponse:
    code = "too_large" if "Big" in type(error).__name__ or "TooMany" in type(error).__name__ else "malformed"
    return problem(
        code, "The request is too large." if code == "too_large" else "The request cannot be read."
    )


def _data_error(request: HttpRequest, error: DataError) -> HttpResponse:
    logger.warning("%s %s: the database refused a value: %s", request.method, request.path, error)
    return problem("invalid", "A value cannot be stored: it holds a NUL character or is out of range.")


def _database_gone(request: HttpRequest, error: Exception) -> HttpResponse:
    logger.error("%s %s: the database does not answer: %s", request.method, request.path, error)
    return problem("unavailable", "The database does not answer; try again.", retry_after=2)


def _failed(request: HttpRequest, error: Exception) -> HttpResponse:
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    return problem("internal", "The server failed; nothing was decided by this call. The log says why.")


class ProblemMiddleware:
    """Turns whatever error page Django or a middleware made under /api/ into a problem document.

    Stands first in MIDDLEWARE, so that it also sees what the others refuse (host, method, unknown path).
    Answers of the API are never cached unless they say so themselves: they may hold grants.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        return self._answer_async(request) if self.is_async else _finish(request, self.get_response(request))

    async def _answer_async(self, request: HttpRequest) -> HttpResponseBase:
        return _finish(request, await self.get_response(request))


def _finish(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    if not request.path_info.startswith(PREFIX):
        return response
    if response.status_code >= 400 and not response.get("Content-Type", "").startswith(MEDIA_TYPE):
        response = _converted(response)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _converted(response: HttpResponseBase) -> HttpResponse:
    code = CODES.get(response.status_code, "malformed" if response.status_code < 500 else "internal")
    details = {
        "not_found": "There is nothing at this address.",
        "method_not_allowed": f"This address takes {response.get('Allow', 'other methods')}.",
    }
    converted = problem(code, details.get(code, HTTPStatus(response.status_code).description or "Refused."))
    converted.status_code = response.status_code
    if "Allow" in response.headers:
        converted["Allow"] = response["Allow"]
    return converted
