"""The browser's socket: signed in, of this origin, and for listening only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from channels.db import database_sync_to_async
from channels.exceptions import DenyConnection
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings

from approvals import audience, live
from approvals.feed import Cursor
from approvals.frames import FRAMES, Write
from approvals.seats import Seat
from approvals.standing import Guest
from policies import factors
from policies.models import User


class LiveConsumer(AsyncWebsocketConsumer):
    """`/ws/live?topic=inbox&topic=action:<id>&since=<cursor>`: messages come, nothing that is sent has any
    effect. `since` is the last cursor that the page was given, in its list or in a message."""

    seat: Seat | None = None
    write: Write | None = None

    async def connect(self) -> None:
        """Refused (HTTP 403) for strangers, foreign origins, and topics that are not for this person."""
        try:
            if not _same_origin(self.scope):
                raise DenyConnection
            query = parse_qs(self.scope["query_string"].decode("ascii"), max_num_fields=16)
            topics = live.topics_of(query.get("topic", []))
            since = Cursor.parse(query.get("since", [""])[0])
        except ValueError:
            raise DenyConnection from None
        guest = await database_sync_to_async(_admitted)(self.scope, topics)
        if guest is None:
            raise DenyConnection
        await self.accept()
        extensions: Any = self.scope.get("extensions") or {}
        self.write = extensions.get(FRAMES)
        self.seat = Seat(guest=guest, topics=topics, wire=self, since=since)
        live.room().enter(self.seat)

    async def disconnect(self, code: int) -> None:
        if self.seat is not None:
            live.room().leave(self.seat)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Deciding goes over HTTP with its CSRF check; a socket is never asked to do anything."""
        await self.close(code=live.FORBIDDEN)

    async def tell(self, text: str) -> None:
        await self.send(text_data=text)

    async def end(self, code: int) -> None:
        await self.close(code=code)


def _admitted(scope: Mapping[str, Any], topics: frozenset[str]) -> Guest | None:
    user, sign_in = scope["user"], scope["session"].session_key
    # AuthMiddleware hands a lazy wrapper; the rules ask for the person.
    person = User.objects.filter(pk=user.pk, is_active=True).first() if user.is_authenticated else None
    if person is None or not sign_in or factors.lacking(person) or not audience.admit(person, topics):
        return None
    return Guest.of(person.pk, sign_in)


def _same_origin(scope: Mapping[str, Any]) -> bool:
    """The page's origin is this very host and port: cookies do not tell ports apart, so this must.

    Raises ValueError for an origin that is none.
    """
    headers = dict(scope["headers"])
    origin = headers.get(b"origin", b"").decode("latin-1")
    host = headers.get(b"host", b"").decode("latin-1")
    return bool(host) and (urlsplit(origin).netloc == host or origin in settings.CSRF_TRUSTED_ORIGINS)
