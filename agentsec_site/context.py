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
    ("Insights", "/insights", Verb.INSIGHTS_SEE),
    ("Health", "/health", Verb.HEALTH_READ),
)
POLICIES = "/admin/"
# Below "Policies", from writing a rule to what grows out of its verdicts; the overview leads to all else.
POLICY_ROOMS = (
    ("Overview", POLICIES, Verb.POLICY_READ),
    ("Rules", "/admin/policies/rule/", Verb.POLICY_READ),
    ("Publish", "/admin/policies/rule/publish/", Verb.POLICY_EDIT),
    ("Releases", "/policies/releases", Verb.POLICY_READ),
    ("In shadow", "/policies/shadow", Verb.POLICY_READ),
    ("Backtest", "/policies/backtest", Verb.POLICY_READ),
    ("Simulator", "/policies/simulate", Verb.POLICY_READ),
    ("Suggested rules", "/policies/suggestions", Verb.POLICY_READ),
    ("Trust in agents", "/policies/trust", Verb.POLICY_READ),
    ("Limits", "/policies/limits", Verb.POLICY_READ),
    ("Notifications", "/policies/notifications", Verb.ACCOUNTS_READ),
    ("Credentials", "/policies/credentials", Verb.ACCOUNTS_READ),
    ("Access review", "/policies/access-review", Verb.ACCOUNTS_READ),
    ("Changes", "/changes", Verb.POLICY_READ),
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

    @property
    def rooms(self) -> list[Room]:
        """The second row of links, on the pages of policies; none elsewhere."""
        path = self.request.path
        if not _within(path, POLICIES):
            return []
        # The longest address that fits: publishing lies below the rules, and everything below the overview.
        below = [href for _, href, _ in POLICY_ROOMS[1:] if _within(path, href)]
        here = max(below, key=len, default=path)
        return [
            Room(label=label, href=href, current=href == here)
            for label, href, verb in POLICY_ROOMS
            if may(self.request.user, verb).allowed
        ]


def _within(path: str, href: str) -> bool:
    if href == "/":
        return path == "/" or path.startswith("/actions")
    if href == POLICIES and (path.startswith("/policies/") or _within(path, "/changes")):
        return True
    return path == href or path.startswith(href.rstrip("/") + "/")


def site(request: HttpRequest) -> dict[str, Any]:
    return {"site": Frame(request)}
