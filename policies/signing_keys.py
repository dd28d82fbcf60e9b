"""The keys that sign tokens: made, rotated with overlap, published, forgotten.

A key's private half is sealed in the database: every host has it, and it changes in one transaction with the
log. A row that somebody writes there past agentsec opens under nobody's key, so it is never published.

sealed = nonce (12 bytes) ‖ AES-256-GCM(HKDF-SHA-256(kek, info "agentsec/signing-key/v1"), nonce, PKCS #8,
AD = "kid alg")
"""

from __future__ import annotations

import logging
import secrets as randomness
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction
from django.db.models import F

from policies import jose
from policies.models import Grant, Tool
from policies.token_models import IssuedToken, SigningKey
from traces import dbtime, keys, record
from traces.problems import Refused

NONCE = 12
LOCK = 0x746F6B656E73  # any constant: one process at a time makes or ends keys
# How long a new key is published before it signs: verifiers keep for MAX_AGE what they fetched.
MAX_AGE = timedelta(minutes=5)
ANNOUNCED = 2 * MAX_AGE
# How far a verifier's clock may be behind ours.
LEEWAY = timedelta(minutes=5)
AGENTSEC = "agentsec"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listed:
    """A signing key as a page shows it. `state` is signing, announced, or published (for what it signed)."""

    kid: str
    alg: str
    state: str
    created_at: datetime
    signs_from: datetime
    signs_until: datetime | None
    last_used_at: datetime | None
    uses: int
    living_tokens: int
    rotates_at: datetime | None


def ensure(*, by: str = AGENTSEC) -> None:
    """Make the first key, where none signs. Appends `signing_key.made`.

    Raises Refused("unavailable") where keys cannot be sealed.
    """
    with transaction.atomic():
        _row(dbtime.now(), by=by)


def rotate(*, by: str, at_once: bool = False) -> SigningKey:
    """A new key, published now, that signs after `ANNOUNCED`; the one before stops then, and stays published
    until its last token has expired. `at_once` lets it sign now: verifiers have to fetch it first.

    One at a time (advisory lock). Appends `signing_key.made`. Raises Refused: conflict while another key
    waits to take over, unavailable.
    """
    return _rotate(dbtime.now(), by=by, at_once=at_once)


def remove(*, kid: str, by: str) -> None:
    """Publish a key no more, for one that is in wrong hands: every token that it signed ends, as soon as
    verifiers fetch the keys again. Where it was the one that signs, the next one or a new one does at once.

    One at a time (advisory lock). Appends `signing_key.removed`, and `signing_key.made`. Raises
    Refused("not_found").
    """
    with transaction.atomic():
        _lock()
        if not SigningKey.objects.filter(kid=kid).delete()[0]:
            raise Refused("not_found", "There is no such signing key.")
        _log("signing_key.removed", by, {"kid": kid, "why": "removed at once"}, f"Signing key {kid} removed")
        now = dbtime.now()
        if not SigningKey.objects.signing(now).exists():
            # The one that was to take over is published already.
            SigningKey.objects.announced(now).update(signs_from=now)
        _row(now, by=by)


def tend(now: datetime) -> int:
    """What time brings: the first key where a tool needs one, rotation of a key that is old or of another
    algorithm than the settings say, the end of those whose last token has expired. How many keys were made
    or forgotten.

    One at a time (advisory lock). Appends `signing_key.made`, `signing_key.removed`.
    """
    current = SigningKey.objects.signing(now).first()
    if current is None:
        made = int(Tool.objects.filter(config__issuer="token").exists())
        if made:
            ensure()
    else:
        made = _rotated(now) if _due(current, now) else 0
    return made + _forget(now)


def take(now: datetime) -> tuple[SigningKey, jose.Key]:
    """The key that signs now, its use counted; its row stays locked until the caller's transaction ends, so
    that tokens are numbered in the order in which they are committed. Raises Refused("unavailable").
    """
    row = _row(now, by=AGENTSEC)
    SigningKey.objects.filter(pk=row.pk).update(uses=F("uses") + 1, last_used_at=now)
    return row, opened(row)


def signer(now: datetime) -> jose.Key:
    """The key that signs now, for what is said of tokens; none is made. Raises Refused("unavailable")."""
    row = SigningKey.objects.signing(now).first()
    if row is None:
        raise Refused("unavailable", "There is no signing key yet: no token was ever handed out.")
    return opened(row)


def published() -> dict[str, jose.Key]:
    """Every key that verifiers may trust, by its `kid`; a row that does not open is none of ours.

    Raises Refused("unavailable") where no key can be opened at all.
    """
    cipher, found = _cipher(), dict[str, jose.Key]()
    for row in SigningKey.objects.all():
        try:
            found[row.kid] = _opened(row, cipher)
        except ValueError:
            logger.error("the signing key %s does not open and is not published", row.kid)
    return found


def listed(now: datetime) -> list[Listed]:
    """Every key with its age, last use and count, newest first. Opens none of them."""
    living = dict[str, int]()
    alive = IssuedToken.objects.filter(expires_at__gt=now, grant__state=Grant.State.ACTIVE)
    for kid in alive.values_list("kid", flat=True):
        living[kid] = living.get(kid, 0) + 1
    return [_listed(row, living.get(row.kid, 0), now) for row in SigningKey.objects.all()]


def opened(row: SigningKey) -> jose.Key:
    """The key pair of a row. Raises Refused("unavailable") without saying more."""
    try:
        return _opened(row, _cipher())
    except ValueError:
        why = f"the signing key {row.kid} does not open under this instance's key"
        raise Refused("unavailable", f"{why}: remove it with `manage.py signing-key remove`") from None


def _opened(row: SigningKey, cipher: AESGCM) -> jose.Key:
    sealed = bytes(row.sealed)
    try:
        raw = cipher.decrypt(sealed[:NONCE], sealed[NONCE:], _bound(row.kid, row.alg))
    except InvalidTag:
        raise ValueError("it does not open") from None
    return jose.loaded(row.alg, raw)


def _bound(kid: str, alg: str) -> bytes:
    return f"{kid} {alg}".encode()


def _row(now: datetime, *, by: str) -> SigningKey:
    found = SigningKey.objects.signing(now).first()
    if found is None:
        _lock()
        # Another process may have made it meanwhile, and later than our moment was.
        now = max(now, dbtime.now())
        found = SigningKey.objects.signing(now).first()
    return found or _make(now, signs_from=now, by=by)


def _rotate(now: datetime, *, by: str, at_once: bool = False) -> SigningKey:
    with transaction.atomic():
        _lock()
        waiting = SigningKey.objects.announced(now).first()
        if waiting is not None and not at_once:
            when = f"{waiting.signs_from:%H:%M} UTC"
            raise Refused("conflict", f"A new key takes over at {when} already.", kid=waiting.kid)
        return _make(now, signs_from=now if at_once else now + ANNOUNCED, by=by)


def _make(now: datetime, *, signs_from: datetime, by: str) -> SigningKey:
    key, nonce = jose.generate(settings.AGENTSEC_TOKEN_ALG), randomness.token_bytes(NONCE)
    sealed = nonce + _cipher().encrypt(nonce, jose.dumped(key), _bound(key.kid, key.alg))
    # Those that were to take over later never will.
    SigningKey.objects.announced(now).update(signs_from=now, signs_until=now)
    SigningKey.objects.filter(signs_until=None).update(signs_until=signs_from)
    row = SigningKey.objects.create(kid=key.kid, alg=key.alg, sealed=sealed, signs_from=signs_from)
    body = {"kid": row.kid, "alg": row.alg, "jwk": key.jwk, "signs_from": signs_from.isoformat()}
    _log("signing_key.made", by, body, f"Signing key {row.kid} made")
    return row


def _forget(now: datetime) -> int:
    """Keys that sign no more and whose last token no clock takes for alive; and what those tokens were."""
    IssuedToken.objects.filter(expires_at__lt=now - timedelta(hours=1)).delete()
    alive = IssuedToken.objects.filter(expires_at__gt=now - LEEWAY)
    over = SigningKey.objects.filter(signs_until__lt=now - LEEWAY).exclude(kid__in=alive.values("kid"))
    forgotten = 0
    for kid in list(over.values_list("kid", flat=True)):
        with transaction.atomic():
            if over.filter(kid=kid).delete()[0]:
                body = {"kid": kid, "why": "its last token has expired"}
                _log("signing_key.removed", AGENTSEC, body, f"Signing key {kid} forgotten")
                forgotten += 1
    return forgotten


def _due(row: SigningKey, now: datetime) -> bool:
    old = _rotates_at(row) <= now or row.alg != settings.AGENTSEC_TOKEN_ALG
    return old and not SigningKey.objects.announced(now).exists()


def _rotated(now: datetime) -> int:
    try:
        _rotate(now, by=AGENTSEC)
    except Refused as refused:
        if refused.code != "conflict":
            raise
        return 0  # somebody else did this moment
    return 1


def _rotates_at(row: SigningKey) -> datetime:
    return row.signs_from + timedelta(days=settings.AGENTSEC_TOKEN_KEY_DAYS)


def _listed(row: SigningKey, living: int, now: datetime) -> Listed:
    ended = row.signs_until is not None and row.signs_until <= now
    state = "published" if ended else "announced" if row.signs_from > now else "signing"
    rotates_at = _rotates_at(row) if row.signs_until is None else None
    return Listed(
        row.kid, row.alg, state, row.created_at, row.signs_from, row.signs_until, row.last_used_at, row.uses,
        living, rotates_at,
    )  # fmt: skip


def _lock() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])


def _cipher() -> AESGCM:
    try:
        kek = keys.kek()
    except ImproperlyConfigured as error:
        raise Refused("unavailable", f"tokens cannot be signed: {error}") from None
    return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=b"agentsec/signing-key/v1").derive(kek))


def _log(kind: str, by: str, body: dict[str, Any], title: str) -> None:
    record.append(kind=kind, actor=by, body=body, title=title)
