"""Packages that scripts may import: a folder that the operator names, read-only inside.

What holds a job is the mount. What is refused here would make the folder another one than the operator
meant: one that whoever runs jobs could fill, or one for another Python.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from approvals.sandbox.job import SandboxUnavailable

VARIABLE = "AGENTSEC_SANDBOX_PACKAGES"
# Where it lies inside (script.py).
INSIDE = "/packages"


def find(given: str, *, account: int, apart_from: Iterable[Path] = ()) -> str:
    """The folder of packages that ``given`` names, links resolved: that one, or that of a virtual
    environment; "" for "".

    ``account`` is the numeric account that runs jobs. Raises SandboxUnavailable, which names the variable,
    for what is no such folder, what that account cannot read or could change, and what holds or lies in one
    of ``apart_from``.
    """
    if not given:
        return ""
    if not Path(given).is_absolute():
        raise SandboxUnavailable(f"{VARIABLE} must be an absolute path, not {given[:80]!r}")
    try:
        folder = _site_packages(Path(given).resolve(strict=True))
        _keep_apart(folder, apart_from)
        changeable, rights = _changeable(folder, account), _rights(folder, account)
    except OSError as error:
        raise SandboxUnavailable(f"{VARIABLE}: {given} cannot be read: {error.strerror}") from error
    if changeable is not None:
        raise SandboxUnavailable(
            f"{VARIABLE}: the account that runs jobs ({account}) may write {changeable}: take that from it"
            f" (chmod -R a-w {folder}), or let root own it"
        )
    if rights & 5 != 5:
        raise SandboxUnavailable(f"{VARIABLE}: the account that runs jobs ({account}) cannot read {folder}")
    return str(folder)


def fit(folder: str, *, version: str) -> None:
    """Raises SandboxUnavailable for a folder that by its name is for another Python than ``version``."""
    named = re.fullmatch(r"python(\d+\.\d+)", Path(folder).parent.name)
    if named and named[1] != ".".join(version.split(".")[:2]):
        raise SandboxUnavailable(
            f"{VARIABLE}: {folder} holds packages for Python {named[1]}, the sandbox has {version}"
        )


def _keep_apart(folder: Path, apart_from: Iterable[Path]) -> None:
    for other in (path.resolve() for path in apart_from):
        if folder.is_relative_to(other) or other.is_relative_to(folder):
            raise SandboxUnavailable(f"{VARIABLE}: {folder} must lie apart from {other}")


def _site_packages(folder: Path) -> Path:
    if not (folder / "pyvenv.cfg").is_file():
        return folder
    found = sorted(folder.glob("lib/python3*/site-packages"))
    if len(found) != 1:
        raise SandboxUnavailable(
            f"{VARIABLE}: {folder} holds {len(found)} folders lib/python3…/site-packages"
        )
    return found[0].resolve(strict=True)


def _changeable(folder: Path, account: int) -> Path | None:
    """What of it, at the top, the account may write. Raises OSError where it cannot be looked at."""
    return next((path for path in (folder, *sorted(folder.iterdir())) if _rights(path, account) & 2), None)


def _rights(path: Path, account: int) -> int:
    """What the account may do there: of 4 read, 2 write, 1 search. Of a link nothing."""
    facts = path.lstat()
    if stat.S_ISLNK(facts.st_mode):
        return 0
    groups = {account} if account != os.geteuid() else {os.getegid(), *os.getgroups()}
    of_whom = 6 if facts.st_uid == account else 3 if facts.st_gid in groups else 0
    return facts.st_mode >> of_whom & 7
