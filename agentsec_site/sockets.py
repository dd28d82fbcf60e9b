"""The WebSocket routes, apart from asgi.py: consumers can be imported only once the apps are loaded."""

from __future__ import annotations

from channels.security.websocket import WebsocketDenier
from django.urls import path, re_path

from approvals.consumers import LiveConsumer

urlpatterns = [
    path("ws/live", LiveConsumer.as_asgi()),
    re_path(r"", WebsocketDenier.as_asgi()),
]
