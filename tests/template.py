"""A home whose database is made already: once a test run, by production's own code, then copied.

Making a cluster, its roles and the schema takes ten seconds of computing, and two dozen homes of one run need
it. What tests about first starts begin with is an empty home (see `tests.live.make_home`).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

from agentsec_site import embedded, provision
from agentsec_site.home import Home, prepare, secret

# The first process of a run makes it, its children find it here.
VARIABLE = "AGENTSEC_TEST_TEMPLATE"
CLUSTER = "postgres"


def begin(folder: Path) -> None:
    """Make the run's secrets in `folder`, unless an outer process did, and remember where they are."""
    root = Path(os.environ.setdefault(VARIABLE, str(folder)))
    services = embedded.plan(root)
    provision.addresses(services)
    secret(services.home, "django.key")


def copy_keys(root: Path) -> None:
    """Give a new home the run's secrets, the ones that its copied cluster will know."""
    keys = prepare(root).keys
    for path in (_root() / "keys").iterdir():
        if not (keys / path.name).exists():
            shutil.copy2(path, keys / path.name)


def copy_cluster(root: Path) -> None:
    """Give a home that has the run's secrets a cluster with roles, database and schema, not started."""
    home, model = prepare(root), _made()
    command = ["cp", "-a", str(model.state / CLUSTER), str(home.state / CLUSTER)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def _root() -> Path:
    return Path(os.environ[VARIABLE])


def _made() -> Home:
    """The template, with its cluster in it and stopped. Whoever needs it first makes it, the others wait."""
    home = prepare(_root())
    done = home.root / "made"
    with open(home.root / "make.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            with embedded.running(home.root) as services:
                provision.provision(services)
            done.touch()
    return home
