"""The WebSocket routes, apart from asgi.py: consumers can be imported only once the apps are loaded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from channels.security.websocket import AllowedHostsOriginValidator, WebsocketDenier
from django.urls import path, re_path

from approvals.consumers import LiveConsumer

# Django's types know views only; Channels routes its own applications through the same functions.
live: Any = LiveConsumer.as_asgi()
nothing: Any = WebsocketDenier.as_asgi()
urlpatterns: list[Any] = [path("ws/live", live), re_path(r"", nothing)]


def of_allowed_hosts(application: Any) -> Callable[..., Awaitable[Any]]:
    """Channels' check of the Origin, which stumbles over an origin that is none."""
    validator = AllowedHostsOriginValidator(application)

    async def checked(scope: Any, receive: Any, send: Any) -> Any:
        try:
            urlsplit(dict(scope["headers"]).get(b"origin", b"").decode("latin-1"))
        except ValueError:
            return await nothing(scope, receive, send)
        return await validator(scope, receive, send)

    return checked
