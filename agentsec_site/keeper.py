"""The keeper: the one process that holds an instance's own PostgreSQL and Valkey.

    python -m agentsec_site.keeper HOME [postgres] [valkey]

Every command that uses the services holds HOME/use.lock shared. The keeper, once the services are up,
waits for that lock exclusively: the kernel grants it the moment the last user ends, however it ended
(kill -9 included), and the keeper then stops the services and goes. It restarts a service that dies.
If the keeper itself is killed, the services get a signal from the kernel and stop too.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agentsec_site import engines
from agentsec_site.home import Home, SetupError, prepare

WATCH_SECONDS = 0.2
LONGEST_LOG = 10 * 1024 * 1024


@dataclass
class Service:
    """One kept child process and how to start and stop it."""

    name: str
    start: Callable[[Home, int], subprocess.Popen[bytes]]
    first: signal.Signals
    process: subprocess.Popen[bytes] | None = None


def main(arguments: list[str]) -> int:
    """Start what is asked, write `ready` (or `error …`) to stdout, keep it until nobody uses it."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if os.fork():  # whoever starts us is no parent that must reap us
        os._exit(0)
    home = prepare(Path(arguments[0]))
    # Never closed by hand: the lock is free only when this process is gone.
    lock = os.open(home.root / "keeper.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.ftruncate(lock, 0)
    os.write(lock, " ".join(arguments[1:]).encode())
    return _keep(home, _services(arguments[1:]), _open_log(home))


def _services(names: list[str]) -> list[Service]:
    known = [
        Service("postgres", _start_cluster, signal.SIGINT),
        Service("valkey", engines.start_valkey, signal.SIGTERM),
    ]
    return [service for service in known if service.name in names]


def _start_cluster(home: Home, log: int) -> subprocess.Popen[bytes]:
    engines.make_cluster(home)
    return engines.start_postgres(home, log)


def _open_log(home: Home) -> int:
    path = home.logs / "services.log"
    if path.exists() and path.stat().st_size > LONGEST_LOG:
        path.replace(path.with_suffix(".log.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _keep(home: Home, services: list[Service], log: int) -> int:
    unused = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: unused.set())
    try:
        for service in services:
            service.process = service.start(home, log)
        _answer("ready")
        threading.Thread(target=_wait_until_unused, args=(home, unused), daemon=True).start()
        while not unused.wait(WATCH_SECONDS):
            _restart_dead(home, services, log)
    except SetupError as error:
        _answer(f"error {error}")
        return 1
    finally:
        for service in reversed(services):
            if service.process:
                engines.stop(service.process, first=service.first)
    return 0


def _wait_until_unused(home: Home, unused: threading.Event) -> None:
    # The descriptor stays open to the end of the process: a new user waits until we are gone.
    descriptor = os.open(home.root / "use.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    unused.set()


def _restart_dead(home: Home, services: list[Service], log: int) -> None:
    for service in services:
        if service.process and service.process.poll() is not None:
            line = f"{service.name} ended with status {service.process.returncode}; starting it again\n"
            os.write(log, line.encode())
            time.sleep(WATCH_SECONDS)
            service.process = service.start(home, log)


def _answer(line: str) -> None:
    print(f"keeper: {line}", file=sys.stderr, flush=True)
    try:
        print(line, flush=True)
    except BrokenPipeError:  # whoever started us is gone; the lock will tell whether anyone else is there
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except SetupError as error:
        _answer(f"error {error}")
        sys.exit(1)
