"""The site's one door: HTTP to Django, WebSockets to Channels behind the session and the Origin check."""

from __future__ import annotations

import os
from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import get_resolver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agentsec_site.settings")
http: Any = get_asgi_application()

from agentsec_site.garbage import settle  # noqa: E402
from agentsec_site.gateway.intake import BodyLimit  # noqa: E402 - needs the apps as well
from agentsec_site.sockets import of_allowed_hosts, urlpatterns  # noqa: E402 - consumers need the apps

application = ProtocolTypeRouter(
    {
        "http": BodyLimit(http),
        "websocket": of_allowed_hosts(AuthMiddlewareStack(URLRouter(urlpatterns))),
    }
)

# Django loads the pages with the first request, which should not pay for it either.
get_resolver().url_patterns  # noqa: B018
settle()
