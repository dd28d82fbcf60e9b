"""Secrets: values that tools name and nobody reads back. Sealed under the key-encryption key.

sealed = nonce (12 bytes) ‖ AES-256-GCM(HKDF-SHA-256(kek, info "agentsec/secret/v1"), nonce, value, AD = name)
"""

from __future__ import annotations

import secrets as randomness

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from policies import foureyes
from policies.models import Secret
from traces import keys, record
from traces.problems import Refused

NONCE = 12
MAX_BYTES = 64 * 1024


def put(*, name: str, value: str, by: str) -> Secret:
    """Store a secret or replace its value; the log says that it changed, never what it is.

    Appends `secret.stored`. Raises Refused("invalid") for an empty or oversized value or a bad name.
    """
    raw = value.encode()
    if not raw or len(raw) > MAX_BYTES:
        raise Refused("invalid", f"a secret holds 1 to {MAX_BYTES} bytes")
    sealed = seal(name, raw)
    title = f"store a value under the secret {name}"
    foureyes.gate(foureyes.Wish("secret", name, title, stored(name), "a new value", sealed), by=by)
    with transaction.atomic():
        secret, created = Secret.objects.update_or_create(
            name=name, defaults={"sealed": sealed, "rotated_at": timezone.now()}
        )
        body = {"name": name, "new": created}
        record.append(kind="secret.stored", actor=by, body=body, title=f"Secret {name} stored")
    return secret


def remove(*, name: str, by: str) -> None:
    """Forget a secret. Appends `secret.removed`. Raises Refused("not_found")."""
    with transaction.atomic():
        if not Secret.objects.filter(name=name).delete()[0]:
            raise Refused("not_found", f"there is no secret “{name}”")
        record.append(kind="secret.removed", actor=by, body={"name": name}, title=f"Secret {name} removed")


def stored(name: str) -> str:
    """When the value that stands was stored, "" where there is none."""
    secret = Secret.objects.filter(name=name).first()
    at = secret and (secret.rotated_at or secret.created_at)
    return at.isoformat() if at else ""


def seal(name: str, value: bytes) -> bytes:
    """The value sealed under the instance's key, to be opened by the same name."""
    nonce = randomness.token_bytes(NONCE)
    return nonce + _cipher().encrypt(nonce, value, name.encode())


def opened(name: str, sealed: bytes) -> str:
    """A value that was sealed under this name. Raises Refused("unavailable") without saying more."""
    try:
        return _cipher().decrypt(sealed[:NONCE], sealed[NONCE:], name.encode()).decode()
    except InvalidTag:
        raise Refused("unavailable", f"the secret “{name}” does not open under this instance's key") from None


def read(name: str) -> str:
    """The value, for an issuer, broker or proxy only. Raises Refused("unavailable") without saying more."""
    secret = Secret.objects.filter(name=name).first()
    if secret is None:
        raise Refused("unavailable", f"the secret “{name}” is not stored: `manage.py secret set {name}`")
    Secret.objects.filter(pk=secret.pk).update(last_used_at=timezone.now(), uses=F("uses") + 1)
    return opened(name, bytes(secret.sealed))


def _cipher() -> AESGCM:
    return AESGCM(
        HKDF(algorithm=SHA256(), length=32, salt=None, info=b"agentsec/secret/v1").derive(keys.kek())
    )
