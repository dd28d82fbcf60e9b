"""Child processes that are watched: started again when they crash, and gone when their parent is."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import psutil

from agentsec_site.embedded import REPOSITORY, Say
from agentsec_site.home import SetupError

PR_SET_PDEATHSIG = 1
# Who ran well and was killed is back at once; who cannot start tries again ever more rarely.
FIRST_PAUSE, LONGEST_PAUSE, HEALTHY_SECONDS = 0.1, 10.0, 10.0
STOP_SECONDS = 5.0
LONGEST_LOG = 10 * 1024 * 1024
QUIET = re.compile(rb"\b(INFO|DEBUG)\b")
COLOURS = (36, 32, 33, 35, 34)
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass
class Child:
    """One process of the instance: what to run, and how it is doing.

    `vital` ones that cannot start at all end the start; `pass_fds` reach the process open.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    pass_fds: tuple[int, ...] = ()
    once: bool = False
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = FIRST_PAUSE
    due: float = 0.0
    crashes: int = 0
    last_line: str = ""
    rest: bytes = b""  # of a line that has not ended yet
    log: BinaryIO | None = field(default=None, repr=False)


class Processes:
    """Starts children, copies what they write into HOME/logs (warnings to the terminal too), restarts them.

    Everything happens in the thread that calls `step`, which must be the one that made this object: the
    kernel ties a child's life to the thread that started it.
    """

    def __init__(self, children: Sequence[Child], *, logs: Path, say: Say) -> None:
        self.children = list(children)
        self.logs = logs
        self.say = say
        self.selector = selectors.DefaultSelector()

    def start(self, *names: str) -> None:
        """Start the children of these names; without names, all that do not run yet."""
        for child in self.children:
            if child.process is None and (not names or child.name in names):
                self._start(child)

    def step(self, seconds: float) -> None:
        """Copy output for at most `seconds`, then see who died and start those that are due."""
        for key, _ in self.selector.select(seconds):
            self._copy(key.data, os.read(key.fd, 65536))
        for child in self.children:
            self._watch(child)

    def stop(self) -> None:
        """End every child and everything it started; returns when nothing of it lives."""
        family = [p for child in self.children for p in _family(child)]
        for child in self.children:
            if child.process and not _ended(child.process):
                child.process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        while any(c.process and not _ended(c.process) for c in self.children) and time.monotonic() < deadline:
            self._drain(0.05)
        for child in self.children:
            self._kill(child)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=STOP_SECONDS)
        self._close()

    def _start(self, child: Child) -> None:
        child.started = time.monotonic()
        child.log = child.log or _open_log(self.logs / f"{child.name}.log")
        child.process = subprocess.Popen(
            child.command,
            env=dict(child.environment),
            cwd=REPOSITORY,
            pass_fds=child.pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_dies_with(os.getpid()),
        )
        assert child.process.stdout is not None
        self.selector.register(child.process.stdout, selectors.EVENT_READ, child)

    def _watch(self, child: Child) -> None:
        if child.process is None:
            if child.due and time.monotonic() >= child.due:
                self._start(child)
        elif _ended(child.process):
            self._bury(child)

    def _bury(self, child: Child) -> None:
        assert child.process is not None
        self._kill(child)  # what it left running in its group goes too
        status = child.process.returncode
        self._forget(child)
        child.process, child.due = None, 0.0
        if child.once and status == 0:
            return
        if time.monotonic() - child.started > HEALTHY_SECONDS:
            child.pause, child.crashes = FIRST_PAUSE, 0
        child.crashes += 1
        child.due = time.monotonic() + child.pause
        why = f" ({child.last_line})" if child.last_line else ""
        self.say(f"{child.name} ended with status {status}{why}; starting it again in {child.pause:g} s")
        child.pause = min(child.pause * 2, LONGEST_PAUSE)

    def _kill(self, child: Child) -> None:
        if child.process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()

    def _forget(self, child: Child) -> None:
        assert child.process is not None and child.process.stdout is not None
        os.set_blocking(child.process.stdout.fileno(), False)
        with contextlib.suppress(BlockingIOError):
            while data := os.read(child.process.stdout.fileno(), 65536):
                self._write(child, data)
        if child.rest:
            self._write(child, b"\n")
        self._unregister(child)

    def _unregister(self, child: Child) -> None:
        assert child.process is not None and child.process.stdout is not None
        with contextlib.suppress(KeyError, ValueError):
            self.selector.unregister(child.process.stdout)
        child.process.stdout.close()

    def _copy(self, child: Child, data: bytes) -> None:
        if data:
            self._write(child, data)
        elif child.process and child.process.stdout:
            self.selector.unregister(child.process.stdout)

    def _drain(self, seconds: float) -> None:
        if not self.selector.get_map():
            time.sleep(seconds)
        for key, _ in self.selector.select(seconds):
            self._copy(key.data, os.read(key.fd, 65536))

    def _write(self, child: Child, data: bytes) -> None:
        assert child.log is not None
        child.log.write(data)
        *lines, child.rest = (child.rest + data).split(b"\n")
        for line in lines:
            if line.strip() and not QUIET.search(line[:80]):
                child.last_line = line.decode(errors="replace").strip()[:300]
                self.say(self._prefix(child) + line.decode(errors="replace"))

    def _prefix(self, child: Child) -> str:
        name = f"{child.name:<10} | "
        if not sys.stderr.isatty():
            return name
        return f"\x1b[{COLOURS[self.children.index(child) % len(COLOURS)]}m{name}\x1b[0m"

    def _close(self) -> None:
        for child in self.children:
            if child.process:
                self._forget(child)
            if child.log:
                child.log.close()
            child.process, child.log = None, None
        self.selector.close()


def check_start(child: Child, *, attempts: int) -> None:
    """Raise SetupError once a process that must be there has crashed `attempts` times in a row."""
    if child.crashes >= attempts:
        raise SetupError(f"{child.name} does not start: {child.last_line or 'see its log'}")


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it is dead, without reaping it: until then no stranger can get its process group's number."""
    if sys.platform == "darwin":  # it has no waitid
        return process.poll() is not None
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _family(child: Child) -> list[psutil.Process]:
    if child.process is None:
        return []
    try:
        return list(psutil.Process(child.process.pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _dies_with(parent: int) -> Callable[[], None]:
    def arrange() -> None:
        if _LIBC is not None:
            _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)

    return arrange


def _open_log(path: Path) -> BinaryIO:
    if path.exists() and path.stat().st_size > LONGEST_LOG:
        path.replace(path.with_suffix(".log.1"))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return os.fdopen(descriptor, "wb", buffering=0)
