"""The WebSocket routes, apart from asgi.py: consumers can be imported only once the apps are loaded."""

from __future__ import annotations

from typing import Any

from channels.security.websocket import WebsocketDenier
from django.urls import path, re_path

from approvals.consumers import LiveConsumer

# Django's types know views only; Channels routes its own applications through the same functions.
live: Any = LiveConsumer.as_asgi()
nothing: Any = WebsocketDenier.as_asgi()
urlpatterns: list[Any] = [path("ws/live", live), re_path(r"", nothing)]
