"""The kill switch on every page: throw it, lift it, and the banner while something is stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from django.contrib import messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from agentsec_site.pages.guard import page, person
from approvals import killswitch
from policies import changes, limits
from policies.access import Verb, actor, may
from policies.foureyes import NeedsSecond
from policies.models import Agent, Switch, Tool, User
from traces.problems import Refused

OFFERED = 200
KINDS = (
    ("all", "Everything"),
    ("agent", "One agent"),
    ("group", "The agents of one group"),
    ("tool", "One tool"),
)
# Who looks after more than one team has to see every switch.
SEEING = (Verb.KILL, Verb.POLICY_READ)


@dataclass(frozen=True)
class Switches:
    """What the frame of a page shows of the kill switch to this person, read only where it is shown."""

    request: HttpRequest

    @property
    def may(self) -> bool:
        return may(self.request.user, Verb.KILL).allowed

    @cached_property
    def thrown(self) -> list[Switch]:
        user = self.request.user
        return list(visible(user)) if isinstance(user, User) and user.is_active else []

    @property
    def kinds(self) -> tuple[tuple[str, str], ...]:
        return KINDS

    @property
    def names(self) -> list[str]:
        """What may be meant, for the field's suggestions."""
        agents = Agent.objects.select_related("team")[:OFFERED]
        groups = {agent.team.name for agent in agents if agent.team}
        tools = Tool.objects.values_list("name", flat=True)[:OFFERED]
        return sorted({*(agent.name for agent in agents), *groups, *tools})


def visible(user: User) -> QuerySet[Switch]:
    """The thrown switches that this person is shown: those of other teams' agents are none of a member's."""
    rows = Switch.objects.order_by("at")
    if (
        any(may(user, verb).allowed for verb in SEEING)
        or may(user, Verb.ACTION_DECIDE, groups=user.group_names).allowed
    ):
        return rows
    agents = Agent.objects.filter(team__name__in=user.group_names).values_list("name", flat=True)
    mine = [f"group:{name}" for name in user.group_names] + [f"agent:{name}" for name in agents]
    return rows.filter(Q(scope=limits.EVERYTHING) | Q(scope__startswith="tool:") | Q(scope__in=mine))


@require_safe
@page(Verb.HEALTH_READ)
def banner(request: HttpRequest) -> HttpResponse:
    """What is stopped now, for pages that are open already."""
    return render(request, "site/_switches.html", {"switches": Switches(request)})


@require_POST
@page(Verb.KILL)
def throw(request: HttpRequest) -> HttpResponse:
    """Stop what the form names, and back to the page it was sent from."""
    kind, name = request.POST.get("kind", ""), request.POST.get("name", "").strip()
    scope = kind if kind == limits.EVERYTHING else f"{kind}:{name}"
    by, reason = actor(person(request)), request.POST.get("reason", "")
    return _done(request, lambda: killswitch.throw(scope=scope, reason=reason, by=by))


@require_POST
@page(Verb.KILL)
def resume(request: HttpRequest) -> HttpResponse:
    """Lift one switch, and back to the page."""
    scope, by = request.POST.get("scope", ""), actor(person(request))
    return _done(request, lambda: limits.lift(scope=scope, by=by), f"Runs again: {scope}.")


def _done(request: HttpRequest, verb: Callable[[], object], said: str = "") -> HttpResponse:
    try:
        verb()
        if said:
            messages.success(request, said)
    except NeedsSecond as needed:
        row = changes.keep(needed, by=actor(person(request)))
        messages.info(request, f"Change {row.pk} waits for somebody else to confirm it, on /changes.")
    except Refused as refused:
        messages.error(request, refused.detail)
    back = request.POST.get("next", "/")
    safe = url_has_allowed_host_and_scheme(back, allowed_hosts=None) and back.startswith("/")
    return redirect(back if safe else "/")
