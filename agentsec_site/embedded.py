"""An instance's own PostgreSQL and Valkey, for where DATABASE_URL and REDIS_URL are unset.

Several commands may use them at the same time: the first one starts them, the last one out stops them,
and each waits until that is true. See `keeper.py` for how they end however their users end.
"""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from agentsec_site.engines import SUPERUSER
from agentsec_site.home import Home, SetupError, prepare, secret

REPOSITORY = Path(__file__).resolve().parent.parent
STOP_SECONDS = 30.0
Say = Callable[[str], None]


@dataclass(frozen=True)
class Services:
    """Where the services are. `admin_url` may create roles; it is for provisioning, never for the site."""

    admin_url: str
    redis_url: str
    own_postgres: bool
    own_valkey: bool
    home: Home

    def postgres_url(self, *, user: str, password: str, database: str) -> str:
        """A libpq URL of the embedded cluster for another role."""
        return socket_url(self.home.run, user, password, database)


def say(line: str) -> None:
    """Progress goes to stderr, so that stdout stays what a command answers."""
    print(line, file=sys.stderr, flush=True)


def socket_url(folder: Path, user: str, password: str, database: str) -> str:
    host = quote(str(folder), safe="")
    return f"postgres://{user}:{quote(password, safe='')}@/{database}?host={host}&port=5432"


def plan(root: Path) -> Services:
    """Where the services of this home are or will be; starts nothing (folders and passwords are made)."""
    home = prepare(root)
    database, redis = os.environ.get("DATABASE_URL", ""), os.environ.get("REDIS_URL", "")
    own = socket_url(home.run, SUPERUSER, secret(home, "postgres.password"), "postgres")
    socket = f"unix://:{secret(home, 'valkey.password')}@{quote(str(home.run / 'valkey.sock'))}?db=0"
    return Services(
        admin_url=database or own,
        redis_url=redis or socket,
        own_postgres=not database,
        own_valkey=not redis,
        home=home,
    )


@contextmanager
def running(root: Path, *, say: Say = say) -> Iterator[Services]:
    """Use the services of the home `root` inside the block; they are up when it begins.

    Takes HOME/use.lock shared. Raises SetupError with one clear line when they cannot start.
    """
    services = plan(root)
    names = [n for n, own in (("postgres", services.own_postgres), ("valkey", services.own_valkey)) if own]
    if not names:
        yield services
        return
    use = _enter(services.home, names, say)
    try:
        yield services
    finally:
        os.close(use)
        _leave(services.home)


def heal(services: Services, *, say: Say = say) -> bool:
    """For a user inside `running`: start the keeper again if it was killed. True if it had to."""
    names = [n for n, own in (("postgres", services.own_postgres), ("valkey", services.own_valkey)) if own]
    if not names or _kept(services.home):
        return False
    with open(services.home.root / "start.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _kept(services.home):
            return False
        _start_keeper(services.home, names, say)
    return True


def _enter(home: Home, names: list[str], say: Say) -> int:
    with open(home.root / "start.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        use = os.open(home.root / "use.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(use, fcntl.LOCK_SH)  # waits while a keeper is stopping
            if not _kept(home):
                _start_keeper(home, names, say)
            _check_kept(home, names)
        except BaseException:
            os.close(use)
            raise
    return use


def _kept(home: Home) -> bool:
    """Whether a keeper lives: it holds its lock for as long as it does."""
    with open(home.root / "keeper.lock", "a") as lock:
        return not _free(lock.fileno(), fcntl.LOCK_EX)


def try_lock(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Take the lock if it is free now; it lasts as long as the descriptor is open."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _free(descriptor: int, kind: int) -> bool:
    free = try_lock(descriptor, kind)
    if free:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    return free


def _check_kept(home: Home, names: list[str]) -> None:
    kept = (home.root / "keeper.lock").read_text().split()
    missing = [name for name in names if name not in kept]
    if missing:
        raise SetupError(
            f"an instance runs here with another {' and '.join(missing)}: set its DATABASE_URL and REDIS_URL"
        )


def _start_keeper(home: Home, names: list[str], say: Say) -> None:
    who = f", as the account {home.account.name}" if home.account else ""
    say(f"Starting {' and '.join(names)}; state in {home.state}{who}")
    log = os.open(home.logs / "services.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    keeper = subprocess.Popen(
        [sys.executable, "-m", "agentsec_site.keeper", str(home.root), *names],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,
    )
    os.close(log)
    answer = _first_line(keeper, home, say)
    keeper.wait()  # the keeper itself goes on as a process of its own
    if answer != "ready":
        raise SetupError(answer.removeprefix("error ") or f"the services do not start; see {home.logs}")


def _first_line(keeper: subprocess.Popen[bytes], home: Home, say: Say) -> str:
    assert keeper.stdout is not None
    with keeper.stdout as answers:
        while not select.select([answers], [], [], 5)[0]:
            say(f"  still starting (PostgreSQL may be recovering; see {home.logs}/services.log)")
        return answers.readline().decode().strip()


def _leave(home: Home) -> None:
    """Wait until the services have stopped, unless somebody else still uses them."""
    deadline = time.monotonic() + STOP_SECONDS
    with open(home.root / "use.lock", "a") as use:
        while _kept(home) and time.monotonic() < deadline:
            others = not _free(use.fileno(), fcntl.LOCK_EX) and _free(use.fileno(), fcntl.LOCK_SH)
            if others:
                return
            time.sleep(0.01)
