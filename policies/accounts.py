"""Accounts: people, their groups and roles, and whether they are on. Every change appends to the log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.core.validators import EmailValidator
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from policies import foureyes
from policies.access import STAFF
from policies.models import NAME, Role, User
from policies.text import fold, reading
from traces import dbtime, record
from traces.problems import Refused

# No comma, since commands take lists, and no leading @, which means a person.
_GROUP = re.compile(r"\w[\w .@&-]{0,148}\w|\w")


def named(name: str) -> User:
    """The person of that name. Raises Refused("not_found")."""
    user = User.objects.filter(username=name).first()
    if user is None:
        raise Refused("not_found", f"There is no person called {name}.")
    return user


def listed(text: str) -> list[str]:
    """The words of a list as commands take it: `a,b`."""
    return [word.strip() for word in text.split(",") if word.strip()]


def in_days(days: int) -> datetime:
    """That many days from now. Raises Refused("invalid") for less than one or more than a hundred years."""
    if not 1 <= days <= 36_500:
        raise Refused("invalid", "The number of days is 1 to 36500.")
    return dbtime.now() + timedelta(days=days)


def placeholder(*, name: str, by: str) -> User:
    """An account that nobody can use yet, so that a file may name its person; `create_user` completes it.

    Appends `person.declared`. Raises Refused("invalid") for a bad name.
    """
    check_name(name)
    with transaction.atomic():
        user = User(username=name, is_active=False)
        user.set_unusable_password()
        save_new(user)
        log("person.declared", by, user, {"name": name}, "declared, not invited yet")
    return user


def is_placeholder(user: User) -> bool:
    return not user.is_active and not user.has_usable_password() and user.last_login is None


def ensure_group(*, name: str, by: str) -> tuple[Group, bool]:
    """The group of that name and whether it had to be made. Appends `group.created` if so.

    Raises Refused: invalid for a bad name, conflict for one that reads like another group's.
    """
    if not _GROUP.fullmatch(name):
        raise Refused("invalid", f"{name!r} names no group: letters, digits, spaces and . _ @ & - only.")
    with transaction.atomic():
        group, created = Group.objects.get_or_create(name=name)
        if created:
            _refuse_twin(group)
            record.append(kind="group.created", actor=by, body={"name": name}, title=f"Group {name} created")
    return group, created


def _refuse_twin(group: Group) -> None:
    """Whoever is asked is named by a group; two whose names read the same would be asked for each other."""
    others = Group.objects.exclude(pk=group.pk).values_list("name", flat=True)
    twin = next((name for name in others if _as_read(name) == _as_read(group.name)), None)
    if twin is not None:
        raise Refused("conflict", f"{group.name!r} reads like the group {twin}: choose another name.")


def _as_read(name: str) -> str:
    return fold(reading(name, lookalikes=True).text).text


def set_groups(*, user: User, groups: Iterable[str], by: str) -> tuple[str, ...]:
    """Make the person a member of exactly these groups; returns the names of groups that had to be made.

    Appends `person.groups` if anything changed.
    """
    wanted = sorted(set(groups))
    with transaction.atomic():
        before = sorted(user.groups.values_list("name", flat=True))
        if before != wanted:
            _gate(user, {"groups": wanted}, by)
        made = [ensure_group(name=name, by=by) for name in wanted]
        if before != wanted:
            user.groups.set([group for group, _ in made])
            user.__dict__.pop("_group_names", None)
            body = {"before": before, "after": wanted}
            log("person.groups", by, user, body, f"in {', '.join(wanted) or 'no group'}")
    return tuple(group.name for group, created in made if created)


def set_roles(*, user: User, roles: Iterable[str], by: str) -> None:
    """Give the person exactly these roles; `is_staff` follows. Appends `person.roles` if anything changed.

    Raises Refused: invalid for an unknown role, conflict for taking the last administrator's role.
    """
    wanted = sorted(set(roles))
    unknown = [role for role in wanted if role not in Role.values]
    if unknown:
        raise Refused("invalid", f"{unknown[0]} is not a role: {', '.join(Role.values)}.")
    with transaction.atomic():
        before = sorted(user.roles)
        if before != wanted:
            _gate(user, {"roles": wanted}, by)
        if Role.ADMINISTRATOR not in wanted:
            _keep_an_administrator(user)
        user.roles, user.is_staff = wanted, bool(STAFF & set(wanted))
        user.save(update_fields=["roles", "is_staff"])
        if before != wanted:
            body = {"before": before, "after": wanted}
            log("person.roles", by, user, body, f"is {', '.join(wanted) or 'nothing'}")


def edit(*, user: User, values: Mapping[str, Any], by: str) -> None:
    """Change a person's name, address, roles and whether the account is on, as far as `values` names them.

    Appends `person.changed`, `person.roles`, `person.switched_on` or `person.switched_off` as needed. Raises
    Refused: invalid, conflict (the last administrator, a name that is taken or known).
    """
    plain = ("username", "email", "first_name", "last_name")
    with transaction.atomic():
        changed = [name for name in plain if name in values and getattr(user, name) != values[name]]
        if changed:
            check_name(values.get("username", user.username))
            _keep_known_name(user, changed)
            check_email(values.get("email", user.email))
            if "email" in changed:
                # A reset link goes there, and with it the account.
                _gate(user, {"email": values["email"]}, by)
            for name in changed:
                setattr(user, name, values[name])
            save_new(user)
            log("person.changed", by, user, {"fields": changed}, f"changed: {', '.join(changed)}")
        set_roles(user=user, roles=values.get("roles", user.roles), by=by)
        if values.get("is_active", user.is_active) != user.is_active:
            set_active(user=user, active=values["is_active"], by=by)


def _keep_known_name(user: User, changed: Iterable[str]) -> None:
    """What somebody edited, another has to approve, and decisions and reviews say whose they are: by name."""
    if "username" in changed and user.has_usable_password():
        raise Refused("conflict", f"Decisions and the log know {user.username} by this name: it stays.")


def set_active(*, user: User, active: bool, by: str) -> None:
    """Switch an account on or off; off ends its sessions, tokens and votes at their next use.

    Appends `person.switched_on` or `person.switched_off`. Raises Refused("conflict") for the last
    administrator.
    """
    with transaction.atomic():
        if active and not user.is_active:
            _gate(user, {"is_active": True}, by)
        if not active:
            _keep_an_administrator(user)
        user.is_active = active
        user.save(update_fields=["is_active"])
        word = "on" if active else "off"
        log(f"person.switched_{word}", by, user, {"active": active}, f"switched {word}")


def set_single_keys(*, user: User, on: bool, by: str) -> None:
    """Whether keys of one character do something on this person's pages.

    Whoever speaks to their computer switches them off, since every word is keys to it (WCAG 2.1.4). Appends
    `person.changed` where it differs from before.
    """
    with transaction.atomic():
        if User.objects.filter(pk=user.pk).exclude(single_keys=on).update(single_keys=on):
            said = f"switched keys of one character {'on' if on else 'off'}"
            log("person.changed", by, user, {"fields": ["single_keys"], "single_keys": on}, said)
    user.single_keys = on


def state(user: User, names: Iterable[str]) -> dict[str, Any]:
    """These of a person's fields as they are, as a proposed change keeps them."""
    return {
        name: sorted(user.groups.values_list("name", flat=True)) if name == "groups"
        else sorted(user.roles) if name == "roles" else getattr(user, name)
        for name in sorted(names)
    }  # fmt: skip


def wish(user: User, after: Mapping[str, Any]) -> foureyes.Wish:
    """The change of a person as one that waits for a second person."""
    before = state(user, after)
    title = f"change {', '.join(sorted(after))} of {user.username}"
    return foureyes.Wish("person", str(user.pk), title, before, dict(after))


def gate_whole(user: User, values: Mapping[str, Any], by: str) -> None:
    """With four-eyes, make one wish of all that a form changes, where any of it needs a second person.

    Raises foureyes.NeedsSecond.
    """
    wanted = {name: sorted(value) if isinstance(value, list) else value for name, value in values.items()}
    now = state(user, wanted)
    after = {name: value for name, value in wanted.items() if now[name] != value}
    if after.keys() & {"roles", "groups", "email"} or after.get("is_active"):
        _gate(user, after, by)


def _gate(user: User, after: Mapping[str, Any], by: str) -> None:
    foureyes.gate(wish(user, after), by=by)


def administrators() -> QuerySet[User]:
    """The people who can sign in as administrators, or could once they take their invitation."""
    return User.objects.filter(is_active=True, roles__contains=[Role.ADMINISTRATOR])


def _keep_an_administrator(user: User) -> None:
    if user.pk is None or not user.is_active or Role.ADMINISTRATOR not in user.roles:
        return
    # All are locked, in one order, so that two administrators cannot each remove the other.
    locked = administrators().select_for_update(no_key=True).order_by("pk")
    if not set(locked.values_list("pk", flat=True)) - {user.pk}:
        raise Refused("conflict", "Somebody has to stay administrator.")


def save_new(user: User) -> None:
    """Save a person whose name may be taken: Refused("conflict") then."""
    try:
        with transaction.atomic():
            user.save()
    except IntegrityError:
        raise Refused("conflict", f"There is already a person called {user.username}.") from None


def check_name(name: str) -> None:
    """Raise Refused("invalid") for what cannot be a person's name."""
    try:
        NAME(name)
    except ValidationError:
        raise Refused("invalid", f"{name!r} names no person: letters, digits and . _ @ - only.") from None


def check_email(email: str) -> None:
    """Raise Refused("invalid") for what is neither empty nor an address."""
    try:
        if email:
            EmailValidator()(email)
    except ValidationError:
        raise Refused("invalid", "That is no address for mail.", field="email") from None


def log(kind: str, by: str, user: User, body: Mapping[str, Any], what: str) -> None:
    """Append an entry about a person, sealed under that person's key; `what` completes "NAME …"."""
    title = f"{user.username} {what}"
    about = f"person:{user.pk}"
    record.append(kind=kind, actor=by, body={"user": user.pk, **body}, subject=about, title=title)
