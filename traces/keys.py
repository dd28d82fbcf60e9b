"""The two secrets of the log, kept in files outside the database.

`kek.key` wraps the subjects' keys; `log.key` signs checkpoints and is read by the sequencer alone; `log.pub`
is what everybody verifies with. Signing keys are written as Go's sumdb `note` package does
(`PRIVATE+KEY+name+hash+data`, and `name+hash+data` for the public half), so other tools read them too.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from traces import checkpoint

KEK_BYTES = 32


def ensure(home: Path | None = None) -> None:
    """Make the keys that a first start lacks (mode 0600, in a 0700 folder); keep the others.

    In: the home whose `keys` folder holds them; without it, the paths of the settings. Two starts at once
    make one set. Raises ImproperlyConfigured, with one line, where making a key would hide a lost one.
    """
    kek, signing, public = _paths(home)
    _make_folder(kek.parent)
    if signing.exists() and not kek.exists():
        raise ImproperlyConfigured(
            f"{kek} is missing beside {signing}: restore it from your backup, a new one would open nothing"
        )
    _create(kek, lambda: base64.b64encode(secrets.token_bytes(KEK_BYTES)).decode())
    if not public.exists():
        _create(signing, lambda: _new_signing_key(settings.AGENTSEC_LOG_ORIGIN))
        _create(public, lambda: checkpoint.Signer.parse(_read(signing)).verifier_key)


def kek() -> bytes:
    """The key-encryption key, 32 bytes. Raises ImproperlyConfigured where it is missing or malformed."""
    return _kek(str(settings.AGENTSEC_KEK))


def signer() -> checkpoint.Signer:
    """The key that signs checkpoints; for the sequencer alone. Raises ImproperlyConfigured."""
    path = Path(settings.AGENTSEC_LOG_KEY)
    try:
        found = checkpoint.Signer.parse(_read(path))
    except ValueError as error:
        raise ImproperlyConfigured(f"{path} is not a log key: {error}") from None
    if found.name != settings.AGENTSEC_LOG_ORIGIN:
        raise ImproperlyConfigured(f"{path} signs for {found.name}, but AGENTSEC_LOG_ORIGIN is another name")
    return found


def verifier_key() -> str:
    """The public key of the log, as `name+hash+data`. Raises ImproperlyConfigured."""
    return _read(Path(settings.AGENTSEC_LOG_PUBLIC_KEY))


def _paths(home: Path | None) -> tuple[Path, Path, Path]:
    if home is None:
        return (
            Path(settings.AGENTSEC_KEK),
            Path(settings.AGENTSEC_LOG_KEY),
            Path(settings.AGENTSEC_LOG_PUBLIC_KEY),
        )
    folder = Path(home) / "keys"
    return folder / "kek.key", folder / "log.key", folder / "log.pub"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(f"{folder} cannot be made: {error.strerror}") from None


def _create(path: Path, content: Callable[[], str]) -> None:
    """Write a key once: a link appears whole or not at all, and never replaces what another start wrote."""
    if path.exists():
        return
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(content() + "\n")
            file.flush()
            os.fsync(descriptor)
        os.link(draft, path)
    except FileExistsError:
        return
    except OSError as error:
        raise ImproperlyConfigured(f"{path} cannot be written: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)


def _new_signing_key(origin: str) -> str:
    return checkpoint.Signer(name=origin, key=Ed25519PrivateKey.generate()).signer_key


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise ImproperlyConfigured(f"{path} is missing: restore it from your backup") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ImproperlyConfigured(f"{path} cannot be read: {error}") from None


@lru_cache(maxsize=8)
def _kek(path: str) -> bytes:
    try:
        key = base64.b64decode(_read(Path(path)), validate=True)
    except ValueError:
        key = b""
    if len(key) != KEK_BYTES:
        raise ImproperlyConfigured(f"{path} is not a key of {KEK_BYTES} bytes in base64")
    return key
