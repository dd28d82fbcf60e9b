"""How people and groups are told: their own on the account page, groups' in the policy rooms."""

from __future__ import annotations

from collections.abc import Callable
from datetime import time
from functools import wraps
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.models import Group
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from agentsec_site.pages.guard import page, person, words
from approvals.notice_models import Outlet
from approvals.notify import outlets, quiet
from approvals.notify.outlets import Saved, Wish
from policies.access import Verb, actor, may, require
from policies.models import User
from traces.problems import Invalid, NotFound, Refused

MINE = "/account#notifications"
View = Callable[[HttpRequest, Outlet], HttpResponse]


@require_safe
@page(Verb.ACCOUNTS_READ)
def groups(request: HttpRequest) -> HttpResponse:
    """Every channel of every group, and a form for a new one."""
    everybody = list(Group.objects.order_by("name"))
    shown = {
        "groups": everybody,
        "outlets": outlets.of_groups(everybody),
        "may_edit": may(person(request), Verb.CHANNELS_EDIT).allowed,
        "zones": quiet.zones(),
    }
    return render(request, "notify/groups.html", shown)


@require_POST
@sensitive_post_parameters("url", "secret")
@page(Verb.CHANNELS_EDIT)
def add_to_group(request: HttpRequest) -> HttpResponse:
    """A new channel of a group."""
    group = Group.objects.filter(name=words(request, "group", most=150)).first()
    if group is None:
        messages.error(request, "There is no such group.")
        return HttpResponseRedirect(reverse("notifications"))
    return _add(request, group)


@require_POST
@sensitive_post_parameters("url", "secret")
@page(Verb.INBOX_SEE)
def add_to_me(request: HttpRequest) -> HttpResponse:
    """A new channel of one's own."""
    return _add(request, person(request))


def of_one(view: View) -> Callable[..., HttpResponse]:
    """A POST about one outlet, for whoever may change it; to others it does not exist."""

    @require_POST
    @sensitive_post_parameters("url", "secret")
    @page(Verb.INBOX_SEE)
    @wraps(view)
    def guarded(request: HttpRequest, outlet_id: UUID) -> HttpResponse:
        outlet = Outlet.objects.select_related("user", "group").filter(pk=outlet_id).first()
        if outlet is None or not _is_theirs(person(request), outlet):
            raise NotFound("There is no such channel.")
        try:
            return view(request, outlet)
        except Refused as refused:
            messages.error(request, _sentence(refused.detail))
            return _back(outlet)

    return guarded


@of_one
def save(request: HttpRequest, outlet: Outlet) -> HttpResponse:
    """Which kinds, when, where."""
    saved = outlets.change(outlet=outlet, wish=_wish(request), by=actor(person(request)))
    return _answer(request, saved, "Saved.")


@of_one
def try_out(request: HttpRequest, outlet: Outlet) -> HttpResponse:
    """A test message, now."""
    outlets.try_out(outlet=outlet, by=actor(person(request)))
    messages.success(request, "The test message was delivered.")
    return _back(outlet)


@of_one
def renew(request: HttpRequest, outlet: Outlet) -> HttpResponse:
    """A new signing secret, shown once."""
    return _answer(request, outlets.renew_secret(outlet=outlet, by=actor(person(request))), "")


@of_one
def confirm(request: HttpRequest, outlet: Outlet) -> HttpResponse:
    """With four-eyes, the second person's yes to a group's channel."""
    outlets.confirm(outlet=outlet, by=actor(person(request)))
    messages.success(request, "Confirmed: it is told from now on.")
    return _back(outlet)


@of_one
def remove(request: HttpRequest, outlet: Outlet) -> HttpResponse:
    """Forget it."""
    where = _back(outlet)
    outlets.remove(outlet=outlet, by=actor(person(request)))
    messages.success(request, "Removed.")
    return where


def _is_theirs(user: User, outlet: Outlet) -> bool:
    if outlet.group_id is None:
        return outlet.user_id == user.pk
    return may(user, Verb.CHANNELS_EDIT).allowed


def _add(request: HttpRequest, owner: User | Group) -> HttpResponse:
    by = person(request)
    if isinstance(owner, Group):
        require(by, Verb.CHANNELS_EDIT)
    usual = Wish(kinds=tuple(Outlet().kinds), url=_posted(request, "url"), secret=_posted(request, "secret"))
    try:
        channel = words(request, "channel", most=10)
        saved = outlets.add(channel=channel, owner=owner, wish=usual, by=actor(by))
    except Refused as refused:
        messages.error(request, _sentence(refused.detail))
        return HttpResponseRedirect(MINE if isinstance(owner, User) else reverse("notifications"))
    return _answer(request, saved, "Added. Send a test message to see whether it arrives.")


def _answer(request: HttpRequest, saved: Saved, said: str) -> HttpResponse:
    if saved.secret:
        back = _back(saved.outlet).url
        return render(request, "notify/secret.html", {"secret": saved.secret, "back": back})
    messages.success(request, said)
    return _back(saved.outlet)


def _back(outlet: Outlet) -> HttpResponseRedirect:
    place = MINE if outlet.group_id is None else f"{reverse('notifications')}#outlet-{outlet.pk}"
    return HttpResponseRedirect(place)


def _wish(request: HttpRequest) -> Wish:
    post = request.POST
    return Wish(
        kinds=tuple(post.getlist("kinds")[:20]), bare="bare" in post,
        zone=words(request, "zone", most=64) or "UTC",
        quiet_from=_clock(post.get("quiet_from", "")), quiet_to=_clock(post.get("quiet_to", "")),
        urgent="urgent" in post, enabled="enabled" in post, url=_posted(request, "url"),
        secret=_posted(request, "secret"),
    )  # fmt: skip


def _posted(request: HttpRequest, name: str) -> str:
    return request.POST.get(name, "").strip()[:4000]


def _clock(text: str) -> time | None:
    try:
        return time.fromisoformat(text).replace(second=0, microsecond=0, tzinfo=None) if text else None
    except ValueError:
        raise Invalid("a time is written as 22:00") from None


def _sentence(text: str) -> str:
    return f"Nothing was changed: {text}" if text[:1].islower() else text
