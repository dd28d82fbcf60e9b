"""Secrets: values that tools name and nobody reads back, rotated with an overlap where that is wanted.

What was replaced or removed is still masked for a day in whatever comes in: a job that runs may hold it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F

from policies import foureyes, secretvalues
from policies.firewall.forms import unfit
from policies.models import PastValue, Secret, Tool, User
from policies.sealing import opened, seal
from policies.secret_models import new_version
from traces import dbtime, record
from traces.problems import Refused

MAX_BYTES = 64 * 1024
MASKED_FOR = timedelta(hours=24)
LONGEST_OVERLAP = timedelta(days=7)

__all__ = ["opened", "put", "read", "remove", "seal", "stored", "usable"]


def put(
    *, name: str, value: str, by: str, overlap: timedelta | None = None, expires_at: datetime | None = None
) -> Secret:
    """Store a secret or replace its value; the log says that it changed, never what it is.

    For `overlap` (at most a week; without it, for as long as a tool that names the secret says) the value
    before stays usable. `expires_at` is when people are to have replaced it; without it, as it was. Locks the
    secret. Appends `secret.stored`. Raises Refused("invalid") for an empty or oversized value, a bad name, or
    a value that could not be masked where it turns up.
    """
    _refuse_unfit(name, value)
    ends = expires_at and expires_at.isoformat()
    kept = agreed_overlap(name) if overlap is None else min(max(overlap, timedelta(0)), LONGEST_OVERLAP)
    after: Any = "a new value"
    if overlap is not None or ends:
        after = {"value": after, "overlap_seconds": int(kept.total_seconds()), "expires_at": ends}
    sealed = seal(name, value.encode())
    title = f"store a value under the secret {name}"
    foureyes.gate(foureyes.Wish("secret", name, title, stored(name), after, sealed), by=by)
    with transaction.atomic():
        secret, created = _replace(name, sealed, kept, expires_at, owner=_person(by))
        body = {
            "name": name,
            "new": created,
            "expires_at": secret.expires_at and secret.expires_at.isoformat(),
        }
        if not created:
            body |= {"overlap_seconds": int(kept.total_seconds())}
        record.append(kind="secret.stored", actor=by, body=body, title=f"Secret {name} stored")
    secretvalues.forget()
    return secret


def remove(*, name: str, by: str) -> None:
    """Forget a secret, and what it was before. Appends `secret.removed`. Raises Refused("not_found")."""
    with transaction.atomic():
        secret = Secret.objects.select_for_update().filter(name=name).first()
        if secret is None:
            raise Refused("not_found", f"there is no secret “{name}”")
        PastValue.objects.filter(name=name).update(usable_until=None)
        _keep_past(secret, timedelta(0))
        secret.delete()
        record.append(kind="secret.removed", actor=by, body={"name": name}, title=f"Secret {name} removed")
    secretvalues.forget()


def stored(name: str) -> str:
    """When the value that stands was stored, "" where there is none."""
    secret = Secret.objects.filter(name=name).first()
    at = secret and (secret.rotated_at or secret.created_at)
    return at.isoformat() if at else ""


def read(name: str) -> str:
    """The value, for an issuer, broker or proxy only. Raises Refused("unavailable") without saying more."""
    secret = Secret.objects.filter(name=name).first()
    if secret is None:
        raise Refused("unavailable", f"the secret “{name}” is not stored: `manage.py secret set {name}`")
    Secret.objects.filter(pk=secret.pk).update(last_used_at=dbtime.now(), uses=F("uses") + 1)
    return opened(name, bytes(secret.sealed))


def usable(name: str) -> tuple[str, ...]:
    """The value, then those before it whose overlap lasts, the newest first: for who finds that the other
    side does not take the new one yet. Raises Refused("unavailable").
    """
    past = PastValue.objects.filter(name=name, usable_until__gt=dbtime.now())
    return (read(name), *(opened(name, bytes(row.sealed)) for row in past))


def agreed_overlap(name: str) -> timedelta:
    """How long the value before stays usable: the longest that a tool which names the secret says."""
    minutes = [
        int(config.get("secret_overlap_minutes") or 0)
        for config in Tool.objects.values_list("config", flat=True)
        if name == config.get("source") or name in (config.get("secrets") or ())
    ]
    return min(timedelta(minutes=max(minutes, default=0)), LONGEST_OVERLAP)


def forget_past(now: datetime | None = None) -> int:
    """Delete values that nobody uses and that no running job can hold any more; how many they were."""
    gone = PastValue.objects.filter(known_until__lte=now or dbtime.now()).delete()[0]
    if gone:
        secretvalues.forget()
    return gone


def _refuse_unfit(name: str, value: str) -> None:
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise Refused("invalid", "a secret is text that UTF-8 can hold", field="value") from None
    if not 0 < size <= MAX_BYTES:
        raise Refused("invalid", f"a secret holds 1 to {MAX_BYTES} bytes", field="value")
    if why := unfit(value.strip()):
        told = (
            f"the value of “{name}” could not be masked where it turns up: {why}; choose a longer random one"
        )
        raise Refused("invalid", told, field="value")


def _replace(
    name: str, sealed: bytes, overlap: timedelta, expires_at: datetime | None, *, owner: User | None
) -> tuple[Secret, bool]:
    known = Secret.objects.select_for_update(of=("self",)).filter(name=name).first()
    if known is None:
        secret = Secret(name=name, sealed=sealed, owner=owner, expires_at=expires_at)
        try:
            secret.clean_fields(exclude=["sealed", "owner"])
        except ValidationError:
            raise Refused("invalid", f"{name!r} names no secret: letters, digits and . _ @ - only") from None
        secret.save(force_insert=True)
        return secret, True
    _keep_past(known, overlap)
    known.sealed, known.version, known.rotated_at = sealed, new_version(), dbtime.now()
    known.owner, known.expires_at = owner or known.owner, expires_at or known.expires_at
    known.save(update_fields=["sealed", "version", "rotated_at", "owner", "expires_at"])
    return known, False


def _keep_past(secret: Secret, overlap: timedelta) -> None:
    """Keep what it was; nothing where it does not open: nobody can have used it, or could look for it."""
    now = dbtime.now()
    try:
        opened(secret.name, bytes(secret.sealed))
    except Refused:
        return
    usable_until = now + overlap if overlap else None
    known_until = now + max(overlap, MASKED_FOR)
    PastValue.objects.create(
        name=secret.name, sealed=bytes(secret.sealed), usable_until=usable_until, known_until=known_until
    )


def _person(by: str) -> User | None:
    who, _, number = by.partition(":")
    return User.objects.filter(pk=int(number)).first() if who == "user" and number.isdecimal() else None
