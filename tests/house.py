"""A pytest plugin (see pyproject.toml) that gives the run a home of its own before settings load."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from agentsec_site import embedded, provision
from agentsec_site.home import secret
from tests import template

PREFIX = "agentsec-test-"
IN_USE = "run.lock"


def _make_home() -> Path:
    _remove_dead_homes()
    home = Path(tempfile.mkdtemp(prefix=PREFIX))
    # Root's services run under an account that must be able to walk into the folder; its keys stay 0700.
    home.chmod(0o711)
    # Held for as long as this process lives, and opened for nothing else.
    fcntl.flock(os.open(home / IN_USE, os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_EX)
    owner = os.getpid()
    atexit.register(lambda: os.getpid() == owner and shutil.rmtree(home, ignore_errors=True))
    return home


def _remove_dead_homes() -> None:
    """Remove what a killed run left: a home whose locks nobody holds."""
    for home in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        locks = [lock for lock in (home / IN_USE, home / "use.lock") if lock.exists()]
        if locks and all(lock.stat().st_uid == os.geteuid() and _unused(lock) for lock in locks):
            shutil.rmtree(home, ignore_errors=True)


def _unused(lock: Path) -> bool:
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


HOME = _make_home()
os.environ.pop("DATABASE_URL", None)
os.environ.pop("REDIS_URL", None)
os.environ["AGENTSEC_EMBEDDED_FSYNC"] = "off"
os.environ["AGENTSEC_TESTING"] = "1"
os.environ["DJANGO_SETTINGS_MODULE"] = "agentsec_site.settings"

# The addresses that the services will have; nothing is started here.
template.begin(HOME / "template")
template.copy_keys(HOME)
_SERVICES = embedded.plan(HOME)
secret(_SERVICES.home, "django.key")
os.environ.update(provision.child_environment(_SERVICES, provision.addresses(_SERVICES).app))
