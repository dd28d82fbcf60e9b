"""What may come in: how many bytes, in which media type, as which JSON.

Bodies are counted while they arrive, before Django keeps them, and read by the same strict reader that
reads arguments, so that no door understands a payload differently from the one that judges it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeVar

import pydantic
from django.http import HttpRequest
from ninja.errors import ValidationError
from ninja.parser import Parser

from agentsec_site.gateway import problems
from policies.arguments import ArgumentsRefused, parse_json
from traces.problems import Refused, TooLarge

JSON_LIMIT = 1 << 20
TEXT_JSON_LIMIT = 4 << 20  # an event's text may have 1 MiB of UTF-8, which \u escapes make thrice as long
FILE_LIMIT = 16 << 20
PAGE_LIMIT = 4 << 20  # a form with a call's arguments, each sign of which may be written as three
STALL_SECONDS = 20.0

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Shape = TypeVar("Shape", bound=pydantic.BaseModel)
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


def limit_of(path: str) -> int:
    """How many bytes the body of a request to this path may have."""
    if not path.startswith(problems.PREFIX):
        return PAGE_LIMIT
    if path.endswith("/files"):
        return FILE_LIMIT
    return TEXT_JSON_LIMIT if path.endswith(("/events", "/inspect")) else JSON_LIMIT


class StrictParser(Parser):
    """Reads JSON bodies for ninja; raises Refused, which `problems` turns into 400, 413 or 415."""

    def parse_body(self, request: HttpRequest) -> Any:
        check_encoding(request)
        media, _, parameters = request.headers.get("Content-Type", "").lower().partition(";")
        charset = parameters.strip().removeprefix("charset=").strip('"')
        if media.strip() != "application/json" or charset not in ("", "utf-8"):
            raise Refused("media_type", "The body must be application/json in UTF-8.")
        try:
            return parse_json(request.body, max_bytes=limit_of(request.path))
        except ArgumentsRefused as refused:
            code = "malformed" if refused.code == "invalid" else refused.code
            raise Refused(code, refused.detail, **refused.extra) from None


def read(request: HttpRequest, shape: type[Shape]) -> Shape:
    """The body of an async call, to be read in its worker thread: a full body keeps the event loop for 0.3 s.

    Raises as ninja's own reading would: Refused, ValidationError.
    """
    try:
        return shape.model_validate(StrictParser().parse_body(request) if request.body else None)
    except pydantic.ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        raise ValidationError([{**item, "loc": ("body", "body", *item["loc"])} for item in found]) from None


def check_encoding(request: HttpRequest) -> None:
    """Raises Refused("media_type") for a compressed body: its size would not be what was counted."""
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise Refused("media_type", "Send the body without a content encoding.")


def raw_body(request: HttpRequest) -> bytes:
    """The bytes of a body that is not JSON; raises TooLarge, Refused("media_type")."""
    check_encoding(request)
    body = request.body
    if len(body) > limit_of(request.path):
        raise TooLarge(f"{len(body)} bytes, at most {limit_of(request.path)} are taken.")
    return body


class BodyLimit:
    """ASGI wrapper that answers 413 as soon as a body is too long, on pages that need no sign-in too.

    Django's handler would write a chunked body of any length to disk before a view sees it.
    """

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        limit = limit_of(scope["path"])
        if _declared(scope) > limit:
            await _refuse(send, "too_large", limit)
            return
        body = _Counted(receive, limit)
        await self.application(scope, body, send)
        if body.refusal:
            await _refuse(send, body.refusal, limit)


class _Counted:
    """A body as it arrives. Where it is too long, or stops arriving, the client seems to have hung up: that
    makes Django let go of what it has kept so far and answer nothing.
    """

    def __init__(self, receive: Receive, limit: int) -> None:
        self.receive, self.limit, self.seen = receive, limit, 0
        self.complete, self.refusal = False, ""

    async def __call__(self) -> Message:
        if self.complete:
            return await self.receive()
        try:
            async with asyncio.timeout(STALL_SECONDS):
                message = await self.receive()
        except TimeoutError:
            self.refusal = "too_slow"
            return {"type": "http.disconnect"}
        self.complete = not message.get("more_body", False)
        self.seen += len(message.get("body", b""))
        if self.seen > self.limit:
            self.refusal = "too_large"
            return {"type": "http.disconnect"}
        return message


def _declared(scope: MutableMapping[str, Any]) -> int:
    length = dict(scope["headers"]).get(b"content-length", b"0")
    if not length.isdigit():
        return 0  # the server has refused it already, or counts the chunks
    return int(length[:20])


async def _refuse(send: Send, code: str, limit: int) -> None:
    details = {"too_large": f"At most {limit} bytes are taken.", "too_slow": "The body stopped arriving."}
    told = problems.document(code, details[code])
    body = json.dumps(told).encode()
    headers = [
        (b"content-type", problems.MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": told["status"], "headers": headers})
    await send({"type": "http.response.body", "body": body})
