"""Second factors: what a person shows beside a password, who has to, and what happens when it is lost.

A passkey is both factors at once. Beside a password stands a passkey, a code of an authenticator app, or, on
the day on which those are lost, a recovery code. Wrong codes are few: see `MOST_WRONG`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.utils import timezone

from policies import foureyes, passkeys, tokens, totp
from policies import secrets as sealing
from policies.access import actor
from policies.accounts import log
from policies.factor_models import AuthenticatorApp, CodeTries, Passkey, RecoveryCode
from policies.models import Role, User
from traces.problems import Refused

CODES = 10
# 80 bits: as good as a token, so its plain hash is safe to keep.
CODE_ALPHABET, CODE_LENGTH, CODE_PART = "abcdefghjkmnpqrstuvwxyz23456789", 16, 4
MOST_WRONG, PAUSE = 5, timedelta(minutes=15)
# Who can change what agents may do, or let one do it.
STRONG_ROLES = frozenset({Role.ADMINISTRATOR, Role.EDITOR, Role.APPROVER})


@dataclass(frozen=True)
class Factors:
    """What a person has beside a password."""

    passkeys: tuple[Passkey, ...] = ()
    app: AuthenticatorApp | None = None
    codes_left: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The kinds, as words; recovery codes alone are no factor. Empty where a password is all there is."""
        return (*(["passkey"] if self.passkeys else []), *(["app"] if self.app else []))


def of(user: User) -> Factors:
    """By three short queries."""
    app = AuthenticatorApp.objects.filter(user=user).first()
    left = RecoveryCode.objects.filter(user=user, used_at=None).count()
    return Factors(tuple(user.passkeys.all()), app, left)


def lacking(user: User) -> str:
    """Why this person may do nothing yet: the site wants a second factor of their role, and there is none.
    Empty where nothing is in the way.
    """
    if not settings.AGENTSEC_REQUIRE_MFA or not STRONG_ROLES & set(user.roles) or of(user).names:
        return ""
    return (
        "This site wants a second factor: add a passkey or an authenticator app on your account page first."
    )


def add_app(*, user: User, secret: str, code: str) -> None:
    """Take an authenticator app on, once it has shown a code of this secret; one a person.

    Appends `person.app_added`. Raises Refused: invalid (the code), conflict.
    """
    step = totp.matching_step(secret, _digits(code), now=timezone.now().timestamp())
    if step is None:
        raise Refused("invalid", "That is not the code that the app shows now.", field="code")
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=user.pk)
        if AuthenticatorApp.objects.filter(user=user).exists():
            raise Refused("conflict", "You have an authenticator app already: remove it first.")
        sealed = sealing.seal(_name(user), secret.encode())
        AuthenticatorApp.objects.create(user=user, sealed=sealed, last_step=step)
        log("person.app_added", actor(user), user, {}, "added an authenticator app")


def remove_app(*, user: User, by: str) -> None:
    """Appends `person.app_removed`. Raises Refused("not_found")."""
    with transaction.atomic():
        if not AuthenticatorApp.objects.filter(user=user).delete()[0]:
            raise Refused("not_found", "There is no authenticator app.")
        log("person.app_removed", by, user, {}, "authenticator app removed")


def new_codes(*, user: User) -> list[str]:
    """Ten recovery codes, shown once; earlier ones stop working. Appends `person.codes_made`.

    Raises Refused("conflict") for somebody without a second factor, whom they would help to nothing.
    """
    if not of(user).names:
        raise Refused("conflict", "Recovery codes are for who has a passkey or an app.")
    codes = ["".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_LENGTH)) for _ in range(CODES)]
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=user.pk)
        RecoveryCode.objects.filter(user=user).delete()
        RecoveryCode.objects.bulk_create(
            RecoveryCode(user=user, sha256=tokens.hashed(code)) for code in codes
        )
        log("person.codes_made", actor(user), user, {"codes": CODES}, "made recovery codes")
    parts = range(0, CODE_LENGTH, CODE_PART)
    return ["-".join(code[at : at + CODE_PART] for at in parts) for code in codes]


def check_code(*, user: User, code: str) -> str:
    """Which factor this code is: app or recovery code; it works once.

    Locks the person's count of tries. Appends `person.code_used` for a recovery code, `person.code_refused`
    for a wrong one. Raises Refused: forbidden (wrong), limit (five wrong ones within a quarter of an hour).
    """
    with transaction.atomic():
        CodeTries.objects.get_or_create(user=user)
        tries = CodeTries.objects.select_for_update().get(user=user)
        now = timezone.now()
        if tries.since < now - PAUSE:
            tries.wrong, tries.since = 0, now
        closed = tries.wrong >= MOST_WRONG
        method = "" if closed else _matching(user, code)
        tries.wrong = 0 if method else min(tries.wrong + 1, MOST_WRONG)
        tries.save()
        if not method and not closed:
            log("person.code_refused", actor(user), user, {"wrong": tries.wrong}, "gave a wrong code")
    if closed:
        raise Refused("limit", "Too many wrong codes: wait a quarter of an hour, or use a passkey.")
    if not method:
        raise Refused("forbidden", "That code is wrong, or was used before.", field="code")
    return method


def reset(*, user: User, by: str) -> None:
    """Forget all second factors of somebody who lost them; their password is left.

    Appends `person.passkey_removed` for each passkey and `person.factors_reset`; tells the person by mail.
    Raises foureyes.NeedsSecond, Refused("not_found") where there is none, ("forbidden") for one's own.
    """
    found = of(user)
    if not found.names:
        raise Refused("not_found", f"{user.username} has no second factor.")
    if by == actor(user):
        raise Refused("forbidden", "Remove your own one by one, on your account page.")
    before = state(user)
    title = f"forget the second factors of {user.username}"
    foureyes.gate(foureyes.Wish("person.factors", str(user.pk), title, before, []), by=by)
    with transaction.atomic():
        for passkey in found.passkeys:
            passkeys.remove(user=user, passkey_id=passkey.pk, by=by)
        AuthenticatorApp.objects.filter(user=user).delete()
        RecoveryCode.objects.filter(user=user).delete()
        log("person.factors_reset", by, user, {"factors": list(found.names)}, "second factors forgotten")
        tell(user, "Your second factors were removed by an administrator.")


def note_sign_in(*, user: User, method: str) -> None:
    """Appends `person.signed_in` with how: password, link, demo link, passkey, and what came beside it."""
    with transaction.atomic():
        log("person.signed_in", actor(user), user, {"method": method}, f"signed in by {method}")


def state(user: User) -> list[str]:
    """What `reset` would forget, for whoever confirms it."""
    found = of(user)
    return [*(f"passkey {each.entry}" for each in found.passkeys), *(["app"] if found.app else [])]


def tell(user: User, what: str) -> None:
    """Mail the person about a change of how they sign in, after commit, where mail goes out at all."""
    if settings.EMAIL_HOST and user.email:
        about = f"Account: {user.username} at {settings.AGENTSEC_URL}"
        text = f"{what}\n\n{about}\n\nIf it was not you, or not wanted, tell an administrator.\n"
        send: Callable[[], object] = partial(
            send_mail, "Your account", text, None, [user.email], fail_silently=True
        )
        transaction.on_commit(send, robust=True)


def _matching(user: User, code: str) -> str:
    app = AuthenticatorApp.objects.select_for_update().filter(user=user).first()
    now = timezone.now()
    if app is not None and len(_digits(code)) == totp.DIGITS:
        secret = sealing.opened(_name(user), bytes(app.sealed))
        step = totp.matching_step(secret, _digits(code), now=now.timestamp(), after=app.last_step)
        if step is not None:
            AuthenticatorApp.objects.filter(pk=app.pk).update(last_step=step, last_used_at=now)
            return "app"
    given = code.lower().replace("-", "").replace(" ", "")
    rows = RecoveryCode.objects.filter(user=user, sha256=tokens.hashed(given), used_at=None)
    if len(given) == CODE_LENGTH and of(user).names and rows.update(used_at=now):
        log("person.code_used", actor(user), user, {"left": of(user).codes_left}, "used a recovery code")
        tell(user, "A recovery code was used to sign in.")
        return "recovery code"
    return ""


def _digits(code: str) -> str:
    return code.replace(" ", "")


def _name(user: User) -> str:
    """What a sealed secret is bound to. No stored secret has a blank in its name, so none is taken for it."""
    return f"authenticator app of user:{user.pk}"
