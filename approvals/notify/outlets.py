"""Where people and groups are told: made, changed, tried out, switched off, forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import time, timedelta
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from approvals.notice_models import Notice, NoticeKind, Outlet
from approvals.notify import letters, quiet, webhook
from approvals.notify.channel import Destination, Undelivered
from approvals.notify.channels import CHANNELS
from policies import fetch, foureyes, secrets
from policies.models import User
from traces import record
from traces.problems import Conflict, Forbidden, Invalid, LimitReached, Unavailable

MOST_OUTLETS = 10  # of one person or group
WAITS = "a second administrator has to confirm its address"
TEST_PAUSE = timedelta(seconds=20)


@dataclass(frozen=True)
class Wish:
    """How an outlet is to be. `url` and `secret` empty: as they were."""

    kinds: tuple[str, ...]
    bare: bool = False
    zone: str = "UTC"
    quiet_from: time | None = None
    quiet_to: time | None = None
    urgent: bool = False
    enabled: bool = True
    url: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)


@dataclass(frozen=True)
class Saved:
    """An outlet as it was stored. `secret` is shown on this one answer and never again."""

    outlet: Outlet
    secret: str = field(default="", repr=False)


def mailbox(user: User) -> Outlet:
    """A person's mail, made where they have none yet."""
    outlet, _ = Outlet.objects.get_or_create(channel="email", user=user, defaults={"made_by": "agentsec"})
    return outlet


@transaction.atomic
def add(*, channel: str, owner: User | Group, wish: Wish, by: str) -> Saved:
    """A new outlet of a person or a group. Locks the owner. Appends `outlet.made`.

    Raises Refused: invalid (channel, address, secret, times), forbidden (an address that may not be reached),
    conflict (too many).
    """
    known = CHANNELS.get(channel)
    if known is None or not known.has_url:
        raise Invalid("there is no such channel")
    # A person of a request is not of the type User, but only looks like it.
    model, name = (User, "user") if isinstance(owner, User) else (Group, "group")
    owned: dict[str, Any] = {name: model.objects.select_for_update(no_key=True).get(pk=owner.pk)}
    if Outlet.objects.filter(**owned).count() >= MOST_OUTLETS:
        raise Conflict(f"at most {MOST_OUTLETS} places")
    if not wish.url:
        raise Invalid("say where: its address is missing", field="url")
    outlet = Outlet(channel=channel, made_by=by, **owned)
    return _store(outlet, wish, by=by, kind="outlet.made")


@transaction.atomic
def change(*, outlet: Outlet, wish: Wish, by: str) -> Saved:
    """Change an outlet; its address and secret stay where the wish names none. Locks it.

    Appends `outlet.changed`. Raises as add, but for conflict.
    """
    locked = _rows_to_change().get(pk=outlet.pk)
    return _store(locked, wish, by=by, kind="outlet.changed")


@transaction.atomic
def renew_secret(*, outlet: Outlet, by: str) -> Saved:
    """A new signing secret, shown once; the old one ends. Appends `outlet.changed`."""
    locked = _rows_to_change().get(pk=outlet.pk)
    if not CHANNELS[locked.channel].has_secret:
        raise Invalid("this channel signs nothing")
    secret = webhook.new_secret()
    locked.sealed = _sealed(locked, destination(locked).url, secret)
    locked.save(update_fields=["sealed"])
    _log("outlet.changed", locked, by, {"changed": ["secret"]})
    return Saved(locked, secret)


@transaction.atomic
def confirm(*, outlet: Outlet, by: str) -> None:
    """With four-eyes, say yes to the address that somebody else gave a group's channel.

    Locks it. Appends `outlet.confirmed`. Raises Refused: conflict (nothing to confirm), forbidden (the same
    person, or an account that may be in the same hand).
    """
    locked = _rows_to_change().get(pk=outlet.pk)
    if not locked.unconfirmed:
        raise Conflict("There is nothing to confirm here.")
    if locked.unconfirmed == by or foureyes.same_hand(locked.unconfirmed, by, at=locked.addressed_at):
        raise Forbidden("Somebody else has to confirm it.")
    asked = locked.unconfirmed
    Outlet.objects.filter(pk=locked.pk).update(unconfirmed="", enabled=True, why_off="")
    _log("outlet.confirmed", locked, by, {"asked_by": asked})


@transaction.atomic
def remove(*, outlet: Outlet, by: str) -> None:
    """Forget an outlet and what it was owed. Appends `outlet.removed`."""
    if outlet.channel == "email":
        raise Invalid("mail is switched off, not removed")
    _log("outlet.removed", outlet, by, {})
    outlet.delete()


def switch_off(outlet: Outlet, *, why: str, by: str) -> None:
    """Send nothing there any more; what is still owed is dropped. The caller holds its lock.

    Appends `outlet.off`.
    """
    Outlet.objects.filter(pk=outlet.pk).update(enabled=False, why_off=why[:200])
    owed = Notice.objects.filter(outlet=outlet, state=Notice.State.WAITING)
    owed = owed.exclude(message=outlet.message) if outlet.message else owed
    owed.update(state=Notice.State.DROPPED, why="it was switched off", ended_at=timezone.now())
    _log("outlet.off", outlet, by, {"why": why})


def try_out(*, outlet: Outlet, by: str) -> None:
    """Send a test message now, whatever the hours; once in 20 seconds. Appends `outlet.tried`.

    Raises Refused: limit, unavailable with what went wrong.
    """
    if outlet.unconfirmed:
        raise Forbidden(f"Not yet: {WAITS}.")
    now = timezone.now()
    rested = Q(tested_at=None) | Q(tested_at__lte=now - TEST_PAUSE)
    if Outlet.objects.filter(rested, pk=outlet.pk).update(tested_at=now) != 1:
        raise LimitReached("A test message was sent a moment ago: wait 20 seconds.")
    letter = letters.test(message=str(uuid4()), now=now, site=settings.AGENTSEC_URL.rstrip("/"))
    why = ""
    try:
        CHANNELS[outlet.channel].deliver(letter, destination(outlet))
    except Undelivered as undelivered:
        why = undelivered.why
    with transaction.atomic():
        _log("outlet.tried", outlet, by, {"arrived": not why, "why": why})
    if why:
        raise Unavailable(f"It did not arrive: {why}.")


def _rows_to_change() -> QuerySet[Outlet]:
    return Outlet.objects.select_for_update(of=("self",)).select_related("user", "group")


def destination(outlet: Outlet) -> Destination:
    """Where it leads. Raises Refused("unavailable") where the sealed part does not open."""
    if not CHANNELS[outlet.channel].has_url:
        return Destination(email=outlet.user.email if outlet.user else "")
    opened = json.loads(secrets.opened(_name(outlet), bytes(outlet.sealed)))
    return Destination(url=opened["url"], secret=opened["secret"])


def _store(outlet: Outlet, wish: Wish, *, by: str, kind: str) -> Saved:
    changed = _take_on(outlet, wish)
    secret = _address(outlet, wish)
    if wish.url or wish.secret:
        changed.append("address")
        outlet.addressed_at = timezone.now()
        outlet.unconfirmed = by if outlet.group_id and foureyes.asks(by) else outlet.unconfirmed
    if outlet.unconfirmed:
        outlet.enabled, outlet.why_off = False, WAITS
    outlet.save()
    if not outlet.enabled:
        rows = Notice.objects.filter(outlet=outlet, state=Notice.State.WAITING)
        rows.update(state=Notice.State.DROPPED, why="it was switched off", ended_at=timezone.now())
    _log(kind, outlet, by, {"changed": changed, "enabled": outlet.enabled})
    return Saved(outlet, secret)


def _take_on(outlet: Outlet, wish: Wish) -> list[str]:
    """Set what the wish says, and name what became different."""
    wanted = _checked(wish)
    changed = [name for name, value in wanted.items() if getattr(outlet, name) != value]
    for name, value in wanted.items():
        setattr(outlet, name, value)
    if outlet.enabled:
        outlet.why_off = ""
    if changed:
        outlet.next_at = min(outlet.next_at, timezone.now())
    return changed


def _checked(wish: Wish) -> dict[str, Any]:
    unknown = set(wish.kinds) - set(NoticeKind.values)
    if unknown:
        raise Invalid("there is no such kind of notice", field="kinds")
    if wish.zone not in quiet.zones():
        raise Invalid("there is no such time zone", field="zone")
    if (wish.quiet_from is None) != (wish.quiet_to is None):
        raise Invalid("quiet hours need both their begin and their end", field="quiet_from")
    kinds = [kind for kind in NoticeKind.values if kind in wish.kinds]
    return {
        "kinds": kinds, "bare": wish.bare, "zone": wish.zone, "quiet_from": wish.quiet_from,
        "quiet_to": wish.quiet_to, "urgent": wish.urgent, "enabled": wish.enabled,
    }  # fmt: skip


def _address(outlet: Outlet, wish: Wish) -> str:
    """Seal a new address; the secret, where one was made for it and must be shown."""
    channel = CHANNELS[outlet.channel]
    if not channel.has_url or not (wish.url or wish.secret):
        return ""
    url = wish.url or destination(outlet).url
    outlet.host = fetch.check(url).host
    made = ""
    secret = wish.secret
    if channel.has_secret and not secret:
        secret = destination(outlet).secret if bytes(outlet.sealed) else (made := webhook.new_secret())
    if channel.has_secret:
        webhook.key_of(secret)
    outlet.sealed = _sealed(outlet, url, secret if channel.has_secret else "")
    # What was under way was meant for the other address.
    outlet.attempts, outlet.last_error, outlet.failed_at = 0, "", None
    return made


def _sealed(outlet: Outlet, url: str, secret: str) -> bytes:
    return secrets.seal(_name(outlet), json.dumps({"url": url, "secret": secret}).encode())


def _name(outlet: Outlet) -> str:
    return f"outlet:{outlet.pk}"


def _log(kind: str, outlet: Outlet, by: str, body: Mapping[str, Any]) -> None:
    """Who changed where somebody is told; never the address, only its host."""
    told = {"outlet": str(outlet.pk), "channel": outlet.channel, "to": outlet.owner, "host": outlet.host}
    about = f"person:{outlet.user_id}" if outlet.user_id else ""
    title = f"Notifications by {outlet.channel}: {kind.partition('.')[2]}"
    record.append(kind=kind, actor=by, body={**told, **body}, subject=about, title=title)


def of_user(user: User) -> list[Outlet]:
    """A person's outlets, mail first."""
    mine = list(Outlet.objects.filter(user=user).select_related("user").order_by("made_at"))
    return sorted(mine, key=lambda outlet: outlet.channel != "email")


def of_groups(groups: Iterable[Group]) -> list[Outlet]:
    rows = Outlet.objects.filter(group__in=groups).select_related("group")
    return list(rows.order_by("group__name", "made_at"))
