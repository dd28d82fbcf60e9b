"""What every page's frame shows: the theme, the server's clock, and the rooms this person may enter."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from agentsec_site.pages.switch import Switches
from policies.access import Verb, may

THEMES = ("auto", "light", "dark")
THEME_COOKIE = "agentsec_theme"
ROOMS = (
    ("Inbox", "/", Verb.INBOX_SEE),
    ("Traces", "/traces", Verb.TRACES_SEE),
    ("Firewall", "/firewall", Verb.FIREWALL_TRY),
    ("Policies", "/admin/", Verb.POLICY_READ),
    ("Health", "/health", Verb.HEALTH_READ),
)


@dataclass(frozen=True)
class Room:
    """One link of the main navigation."""

    label: str
    href: str
    current: bool


@dataclass(frozen=True)
class Frame:
    """The values that `base.html` reads as `site`."""

    request: HttpRequest

    @property
    def theme(self) -> str:
        wanted = self.request.COOKIES.get(THEME_COOKIE, "auto")
        return wanted if wanted in THEMES else "auto"

    @property
    def now(self) -> datetime:
        return timezone.now()

    @property
    def switches(self) -> Switches:
        return Switches(self.request)

    @property
    def nav(self) -> list[Room]:
        return [
            Room(label=label, href=href, current=_within(self.request.path, href))
            for label, href, verb in ROOMS
            if may(self.request.user, verb).allowed
        ]


def _within(path: str, href: str) -> bool:
    if href == "/":
        return path == "/" or path.startswith("/actions")
    if href == "/admin/" and path.startswith("/policies/"):
        return True
    return path == href or path.startswith(href.rstrip("/") + "/")


def site(request: HttpRequest) -> dict[str, Any]:
    return {"site": Frame(request)}
