"""A whole instance for end-to-end tests: `manage.py up` (or `demo`) in its own home, as a person runs it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from agentsec_site.embedded import REPOSITORY
from tests import template

READY = re.compile(r"agentsec is ready in ([0-9.]+) s: (http://\S+)")
# What this test run's own process was given must not reach the instance, which makes its own.
OURS = ("AGENTSEC_", "DATABASE_URL", "REDIS_URL", "DJANGO_", "PYTEST_")


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment as a person's shell would have it, and `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return {**kept, "AGENTSEC_EMBEDDED_FSYNC": "off", **more}


def make_home() -> Path:
    """An empty home that the services' account may enter (pytest's own folders are closed to it)."""
    home = Path(tempfile.mkdtemp(prefix="agentsec-live-"))
    home.chmod(0o711)
    return home


def made_home() -> Path:
    """A home as an earlier start left it: keys, roles and schema are there, nothing else is."""
    home = make_home()
    template.copy_keys(home)
    template.copy_cluster(home)
    return home


@dataclass
class Live:
    """One running instance; `lines` is what it has said so far, `link` what it printed to be opened."""

    home: Path
    command: str = "up"
    environment: Mapping[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    link: str = ""
    url: str = ""
    seconds: float = 0.0
    process: subprocess.Popen[str] | None = None
    reader: threading.Thread | None = None

    def start(self, *words: str, wait: float = 120.0) -> Live:
        """Start it on a free port and wait until it says that it is ready."""
        self.lines.clear()
        self.url = self.link = ""
        self.process = subprocess.Popen(
            [*manage(self.command), "--home", str(self.home), "--port", "0", *words],
            cwd=REPOSITORY,
            env=clean_environment(**self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        deadline = time.monotonic() + wait
        while not any("Ctrl-C stops it" in line for line in list(self.lines)):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError("the instance did not start:\n" + "".join(self.lines))
            time.sleep(0.02)
        return self

    def manage(self, *words: str, check: bool = True, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run another command of manage.py on the same home, as a person would beside it; `given` is what it
        reads.
        """
        return subprocess.run(
            [*manage(*words), "--home", str(self.home)],
            cwd=REPOSITORY,
            env=clean_environment(**self.environment),
            input=given,
            capture_output=True,
            text=True,
            check=check,
            timeout=120,
        )

    def child(self, name: str) -> psutil.Process:
        """A process of the instance by the last word of its AGENTSEC_PROCESS, such as `worker-1`."""
        assert self.process is not None
        for process in psutil.Process(self.process.pid).children():
            # One that has just died is still a child, without an environment.
            with contextlib.suppress(psutil.Error):
                if process.environ().get("AGENTSEC_PROCESS") == f"agentsec {name}":
                    return process
        raise AssertionError(f"no process {name}")

    def stop(self, number: signal.Signals = signal.SIGINT, *, seconds: float = 30) -> int:
        """Ask it to end, as Ctrl-C does, and return its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(seconds)
        if self.reader:
            self.reader.join(5)
        if self.process.stdout:
            self.process.stdout.close()
        return status

    def survivors(self) -> list[psutil.Process]:
        """Processes of this home that live: by their environment, command line or folder."""
        return [process for process in psutil.process_iter() if _belongs(process, self.home)]

    def gone(self, seconds: float = 15) -> bool:
        deadline = time.monotonic() + seconds
        while self.survivors() and time.monotonic() < deadline:
            time.sleep(0.05)
        return not self.survivors()

    def remove(self) -> None:
        """Stop it, whatever state it is in, and remove its home."""
        if self.process:
            self.stop()
        shutil.rmtree(self.home)

    def _read(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        for line in self.process.stdout:
            if found := READY.search(line):
                self.seconds, self.url = float(found[1]), found[2]
            elif self.url and self.url in line and not self.link:
                self.link = line.split()[-1]
            self.lines.append(line)


def manage(*words: str) -> list[str]:
    return [sys.executable, str(REPOSITORY / "manage.py"), *words]


def _belongs(process: psutil.Process, home: Path) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
            return False
        words = [*process.cmdline(), process.cwd(), process.environ().get("AGENTSEC_HOME", "")]
    except psutil.Error:
        return False
    return any(str(home) in word for word in words)
