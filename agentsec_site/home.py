"""The home folder: where one instance keeps its keys, its logs and the state of its own services.

    HOME/keys/        0700, one secret a file, 0600; the same files on every host of one installation
    HOME/logs/        what the processes wrote
    HOME/static/      for `collectstatic`; otherwise empty
    HOME/services/    PostgreSQL's and Valkey's state, unless their account cannot reach it

PostgreSQL refuses to run as root, so a root start hands the services to an unprivileged account. Where
that account cannot walk down to HOME, the state lives in /var/lib/agentsec/<name>; no permission of any
folder that agentsec did not make is ever changed.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import secrets
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

SYSTEM_STATE = Path("/var/lib/agentsec")
# sun_path holds 104 bytes on macOS and 108 on Linux, the final NUL included.
LONGEST_SOCKET = 103
SOCKET_NAME = ".s.PGSQL.5432"


class SetupError(Exception):
    """A start that cannot go on. The message is the one line that a person reads, with what to do."""


@dataclass(frozen=True)
class Account:
    """The unprivileged account that runs the services when agentsec itself runs as root."""

    name: str
    uid: int
    gid: int

    def reaches(self, path: Path) -> bool:
        """Whether this account can enter the folder, or execute the file, at `path`."""
        test = ["/usr/bin/env", "test", "-x", str(path)]
        return (
            subprocess.run(
                test,
                check=False,
                cwd="/",
                user=self.uid,
                group=self.gid,
                extra_groups=[],
                stdin=subprocess.DEVNULL,
            ).returncode
            == 0
        )


@dataclass(frozen=True)
class Home:
    """The resolved folders of one instance; `account` is None where the services run as ourselves."""

    root: Path
    state: Path
    run: Path
    account: Account | None

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def logs(self) -> Path:
        return self.root / "logs"


def service_account() -> Account | None:
    """`postgres` where it exists, else `nobody`; None for a normal user. SetupError if root has neither."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise SetupError(
        "PostgreSQL cannot run as root and there is no account `postgres` or `nobody` to run it as"
    )


def prepare(root: Path) -> Home:
    """Make the folders of a home (again) and find where its services' state lives.

    Idempotent and safe to race. Raises SetupError when the folder cannot be ours.
    """
    root = root.absolute()
    account = service_account()
    try:
        _make(root, 0o711 if account else 0o700)
        _make(root / "keys", 0o700)
        _make(root / "logs", 0o700)
        _make(root / "static", 0o700)
        state = _state(root, account)
        _make(state, 0o700, account)
        run = _run_folder(state, account)
        _make(run, 0o700, account)
    except OSError as error:
        raise SetupError(
            f"{error.filename or root}: {error.strerror}; choose a folder you can write with --home"
        ) from None
    return Home(root=root, state=state, run=run, account=account)


def secret(home: Home, name: str) -> str:
    """The secret in `HOME/keys/NAME`, made on first use: 256 random bits, URL-safe, readable by us alone."""
    path = home.keys / name
    try:
        if not path.exists():
            write_once(path, secrets.token_urlsafe(32) + "\n")
        value = path.read_text().strip()
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}") from None
    if not value:
        raise SetupError(
            f"{path} is empty: put the secret back from a backup, or remove the file and the state"
        )
    return value


def write_once(path: Path, text: str) -> None:
    """Write a 0600 file that never exists half-written; of two racing writers the first one stays."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()


def _make(path: Path, mode: int, account: Account | None = None) -> None:
    """Make a missing folder; one that is there keeps its mode, but must be the expected owner's."""
    owner = account.uid if account else os.geteuid()
    if not path.is_dir():
        path.mkdir(mode=mode, parents=True, exist_ok=True)
        if account:
            os.chown(path, account.uid, account.gid)
    # Another start may have made it just now and be about to hand it over.
    patience = time.monotonic() + 1
    while account and path.lstat().st_uid == os.geteuid() != owner and time.monotonic() < patience:
        time.sleep(0.01)
    found = path.lstat()  # of a link itself: one that somebody else put there is not ours
    if found.st_uid != owner:
        raise SetupError(
            f"{path} belongs to uid {found.st_uid}, not {owner}; start as its owner or use another --home"
        )


def _state(root: Path, account: Account | None) -> Path:
    """Where the services' state is; once chosen it is written down, so that it never moves silently."""
    note = root / "state.path"
    if not note.exists():
        write_once(note, f"{_choose_state(root, account)}\n")
    text = note.read_text().strip()
    # Relative inside the home, so that a home may be moved as a whole.
    state = root / text
    if Path(text).is_absolute() and (root / "keys" / "postgres.password").exists() and not state.is_dir():
        raise SetupError(
            f"the database of this home was in {state}, which is gone; restore it or use a new --home"
        )
    return state


def _choose_state(root: Path, account: Account | None) -> str:
    if account is None or account.reaches(root):
        return "services"
    _make_system_state()
    name = re.sub(r"[^a-z0-9]+", "-", root.name.lower()).strip("-")[:24] or "home"
    return str(SYSTEM_STATE / f"{name}-{secrets.token_hex(4)}")


def _make_system_state() -> None:
    if not SYSTEM_STATE.is_dir():
        SYSTEM_STATE.mkdir(mode=0o755, parents=True, exist_ok=True)


def _run_folder(state: Path, account: Account | None) -> Path:
    run = state / "run"
    if len(os.fsencode(run / SOCKET_NAME)) <= LONGEST_SOCKET:
        return run
    owner = account.uid if account else os.geteuid()
    digest = hashlib.sha256(os.fsencode(state)).hexdigest()[:12]
    return Path("/tmp") / f"agentsec-{owner}-{digest}"
