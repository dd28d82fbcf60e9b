"""People: how they come in. Accounts are re-exported; here are links, invitations and personal tokens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import F

from policies import foureyes, tokens
from policies.access import actor
from policies.accounts import (
    administrators,
    check_email,
    check_name,
    edit,
    ensure_group,
    in_days,
    is_placeholder,
    listed,
    log,
    named,
    placeholder,
    save_new,
    set_active,
    set_groups,
    set_roles,
)
from policies.models import Link, PersonalToken, Role, User
from policies.querysets import LinkQuerySet
from traces import clean, dbtime, record
from traces.problems import Refused

__all__ = [
    "User", "administrators", "authenticate_token", "create_user", "demo_link", "edit", "ensure_group",
    "in_days", "invite", "is_placeholder", "issue_token", "listed", "named", "open_demo", "peek",
    "placeholder", "redeem", "request_reset", "reset", "revoke_token", "set_active", "set_groups",
    "set_roles", "setup_link",
]  # fmt: skip

LINK_LIFE = timedelta(minutes=30)
DEMO_LIFE = timedelta(days=7)
RESET_PAUSE = timedelta(minutes=2)
TOKEN_DAYS = 30
LONGEST_TOKEN_DAYS = 366
DEFAULT_ROLES = (Role.APPROVER, Role.MEMBER)
# Whoever sets an instance up alone has to be able to make it work; other people take roles over later.
FIRST_ROLES = (Role.ADMINISTRATOR, Role.EDITOR, Role.APPROVER, Role.AUDITOR, Role.MEMBER)
FIRST_GROUP = "approvers"
# Who made a link that went to the person's own mailbox: nobody else has seen it.
MAILED = "mail"


@dataclass(frozen=True)
class Linked:
    """A link as it is handed out, once."""

    token: str = field(repr=False)
    url: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True)
class Invited:
    """A new person, the invitation, and which groups had to be made."""

    user: User
    link: Linked
    new_groups: tuple[str, ...] = ()

    @property
    def url_token(self) -> str:
        return self.link.token


def create_user(
    *, name: str, groups: Iterable[str] = (), roles: Iterable[str] = DEFAULT_ROLES, by: str, email: str = ""
) -> Invited:
    """Create a person without a password, or complete a placeholder of that name, and invite them.

    Makes missing groups. Appends `person.created` and `person.invited` (and `group.created`). Raises
    Refused: conflict where the name is taken, invalid for a bad name, group or role.
    """
    check_name(name)
    check_email(email)
    after = {"groups": sorted(set(groups)), "roles": sorted(set(roles)), "email": email}
    foureyes.gate(foureyes.Wish("person.create", name, f"create the person {name}", None, after), by=by)
    with transaction.atomic():
        user = User.objects.select_for_update().filter(username=name).first()
        if user is not None and not is_placeholder(user):
            raise Refused("conflict", f"There is already a person called {name}.")
        user = user or User(username=name)
        user.is_active, user.email = True, email
        user.set_unusable_password()
        save_new(user)
        new = set_groups(user=user, groups=groups, by=by)
        set_roles(user=user, roles=roles, by=by)
        log("person.created", by, user, {"groups": sorted(groups), "roles": sorted(user.roles)}, "created")
        return Invited(user, invite(user=user, by=by), new)


def setup_link(*, by: str = "agentsec") -> Linked | None:
    """The link that makes the first administrator; None where there is one. An older one stops working."""
    with transaction.atomic():
        if administrators().exists():
            return None
        Link.objects.filter(purpose=Link.Purpose.SETUP, used_at=None).delete()
        record.append(kind="site.setup_link", actor=by, body={}, title="Set-up link made")
        return _link(None, Link.Purpose.SETUP, LINK_LIFE, by)


def invite(*, user: User, by: str) -> Linked:
    """A link by which the person sets a password; older ones stop working. Appends `person.invited`."""
    return _link_for(user, Link.Purpose.INVITATION, LINK_LIFE, "person.invited", by)


def reset(*, user: User, by: str) -> Linked:
    """A link by which the person sets a new password. Appends `person.reset`."""
    return _link_for(user, Link.Purpose.RESET, LINK_LIFE, "person.reset", by)


def demo_link(*, user: User) -> Linked:
    """A link that signs in as often as it is opened, on loopback, while this is a demo."""
    return _link_for(user, Link.Purpose.DEMO, DEMO_LIFE, "person.demo_link", "agentsec")


def request_reset(*, name: str) -> None:
    """Mail a reset link to the person of this name or address, if there is one with an address.

    Says nothing of whether there is: the caller shows the same sentence either way. Raises
    Refused("unavailable") where this site sends no mail.
    """
    if not settings.EMAIL_HOST:
        raise Refused("unavailable", "This site sends no mail: ask an administrator for a reset link.")
    name = clean.storable(name)
    users = User.objects.filter(is_active=True).exclude(email="")
    user = users.filter(username=name).first() or users.filter(email__iexact=name).first()
    if user is None or not name or _asked_just_now(user):
        return
    link = _link_for(user, Link.Purpose.RESET, LINK_LIFE, "person.reset", actor(user), made_by=MAILED)
    text = (
        f"Somebody asked to set a new password for {user.username}. If it was you, open within 30 minutes:"
        f"\n\n{link.url}\n\nIf not, do nothing.\n"
    )
    send_mail("Set a new password", text, None, [user.email])


def _asked_just_now(user: User) -> bool:
    # Or anybody could flood a mailbox, and end each link before its reader opens it.
    since = dbtime.now() - RESET_PAUSE
    return Link.objects.filter(user=user, purpose=Link.Purpose.RESET, created_at__gt=since).exists()


def peek(token: str) -> Link:
    """What a link is for, without using it. Raises Refused("gone") where it is no (longer a) link."""
    link = _usable(Link.objects.select_related("user"), token)
    if link is None:
        raise Refused("gone", "This link was used, has expired, or never was one. Ask for a new one.")
    return link


def redeem(*, token: str, password: str, name: str = "", email: str = "") -> User:
    """Use a set-up, invitation or reset link once: the person now has this password.

    `name` (and `email`) only count for a set-up link, which makes the first administrator. A reset ends the
    person's tokens: whoever had the account meanwhile may have made them. Locks the link. Appends
    `token.revoked` for each and `person.welcomed`. Raises Refused: gone (used, expired), invalid (password,
    name), conflict.
    """
    with transaction.atomic():
        link = _usable(Link.objects.select_for_update(of=("self",)).select_related("user"), token)
        if link is None or link.purpose == Link.Purpose.DEMO:
            raise Refused("gone", "This link was used, has expired, or never was one. Ask for a new one.")
        user = link.user or _first_administrator(name, email)
        if not user.is_active:
            raise Refused("forbidden", "This account is switched off.")
        _set_password(user, password)
        Link.objects.filter(pk=link.pk).update(used_at=dbtime.now(), user=user)
        if link.purpose == Link.Purpose.RESET:
            _end_tokens(user)
        log("person.welcomed", actor(user), user, {"purpose": link.purpose}, f"used the {link.purpose} link")
    return user


def open_demo(*, token: str, remote: str) -> User:
    """The person a demo link signs in. Raises Refused: gone, or forbidden from anywhere but loopback."""
    link = peek(token)
    if link.purpose != Link.Purpose.DEMO or not settings.AGENTSEC_DEMO or link.user is None:
        raise Refused("gone", "This is no link of a running demo.")
    if not _is_loopback(remote):
        raise Refused("forbidden", "A demo link works on this machine only.")
    if not link.user.is_active:
        raise Refused("forbidden", "This account is switched off.")
    return link.user


def issue_token(user: User, *, days: int = TOKEN_DAYS, by: str = "") -> str:
    """A personal token (`ast_…`), shown once. Appends `token.issued`. Raises Refused: invalid, forbidden."""
    if not 1 <= days <= LONGEST_TOKEN_DAYS:
        raise Refused("invalid", f"A token lives 1 to {LONGEST_TOKEN_DAYS} days.")
    if not user.is_active:
        raise Refused("forbidden", f"The account {user.username} is switched off.")
    minted = tokens.mint("ast")
    with transaction.atomic():
        ends = dbtime.now() + timedelta(days=days)
        token = PersonalToken.objects.create(
            user=user, prefix=minted.prefix, sha256=minted.sha256, expires_at=ends
        )
        body = {"prefix": token.prefix, "expires_at": token.expires_at.isoformat()}
        log("token.issued", by or actor(user), user, body, "token issued")
    return minted.raw


def revoke_token(*, token: PersonalToken, by: str) -> None:
    """End a token. Appends `token.revoked`; ending an ended one changes nothing."""
    with transaction.atomic():
        if PersonalToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=dbtime.now()):
            log("token.revoked", by, token.user, {"prefix": token.prefix}, "token revoked")


def _end_tokens(user: User) -> None:
    for living in PersonalToken.objects.usable(dbtime.now()).filter(user=user):
        revoke_token(token=living, by=actor(user))


def authenticate_token(raw: str) -> User | None:
    """The person whose living token this is; counts the use."""
    if not tokens.well_formed(raw, "ast"):
        return None
    now = dbtime.now()
    rows = PersonalToken.objects.usable(now).select_related("user").filter(prefix=raw[: tokens.PREFIX])
    token: PersonalToken | None = tokens.pick(raw, rows)
    if token is None:
        return None
    PersonalToken.objects.filter(pk=token.pk).update(uses=F("uses") + 1, last_used_at=now)
    return token.user


def _first_administrator(name: str, email: str) -> User:
    if administrators().exists():
        raise Refused("gone", "This instance has an administrator already. Ask for an invitation.")
    invited = create_user(name=name, groups=[FIRST_GROUP], roles=FIRST_ROLES, by="agentsec", email=email)
    Link.objects.filter(user=invited.user).delete()
    return invited.user


def _set_password(user: User, password: str) -> None:
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise Refused("invalid", " ".join(error.messages), field="password") from None
    user.set_password(password)
    user.save(update_fields=["password"])


def _link_for(user: User, purpose: str, life: timedelta, kind: str, by: str, *, made_by: str = "") -> Linked:
    with transaction.atomic():
        if purpose != Link.Purpose.DEMO:
            Link.objects.filter(user=user, used_at=None).exclude(purpose=Link.Purpose.DEMO).delete()
        log(kind, by, user, {"purpose": purpose}, f"got a link ({purpose})")
        return _link(user, purpose, life, made_by or by)


def _link(user: User | None, purpose: str, life: timedelta, by: str) -> Linked:
    minted = tokens.mint("lnk")
    expires_at = dbtime.now() + life
    Link.objects.create(user=user, purpose=purpose, sha256=minted.sha256, expires_at=expires_at, by=by)
    return Linked(minted.raw, f"{settings.AGENTSEC_URL.rstrip('/')}/welcome/{minted.raw}", expires_at)


def _usable(links: LinkQuerySet, token: str) -> Link | None:
    if not tokens.well_formed(token, "lnk"):
        return None
    return tokens.pick(token, links.usable(dbtime.now()).filter(sha256=tokens.hashed(token)))


def _is_loopback(remote: str) -> bool:
    try:
        return ip_address(remote).is_loopback
    except ValueError:
        return False
