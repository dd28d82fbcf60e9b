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

PREFIX = "agentsec-test-"


def _make_home() -> Path:
    _remove_dead_homes()
    home = Path(tempfile.mkdtemp(prefix=PREFIX))
    # Root's services run under an account that must be able to walk into the folder; its keys stay 0700.
    home.chmod(0o711)
    owner = os.getpid()
    atexit.register(lambda: os.getpid() == owner and shutil.rmtree(home, ignore_errors=True))
    return home


def _remove_dead_homes() -> None:
    """Remove what a killed run left: a home whose use lock nobody holds."""
    for home in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        lock = home / "use.lock"
        if lock.exists() and lock.stat().st_uid == os.geteuid() and _unused(lock):
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
_SERVICES = embedded.plan(HOME)
secret(_SERVICES.home, "django.key")
os.environ.update(provision.child_environment(_SERVICES, provision.addresses(_SERVICES).app))
