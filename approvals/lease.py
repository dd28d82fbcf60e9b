"""A worker's right to go on with a start: renewed with each heartbeat, and enforced from outside of it.

What PostgreSQL takes for dead after AGENTSEC_STALE_SECONDS must be dead by then, with everything it started.
So a lease ends well before, and `watchdog` then kills the worker, however it hangs.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

from django.conf import settings

from approvals import watchdog

PROGRAM = Path(watchdog.__file__)


def seconds() -> float:
    """How long a lease holds after the heartbeat that renewed it began; the rest is time to die in."""
    return float(settings.AGENTSEC_STALE_SECONDS) * 2 / 3


class Guard:
    """The watchdog of this process. `renew` and `release` raise OSError where it is gone."""

    def __init__(self) -> None:
        reader, self._writer = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(PROGRAM), str(os.getpid()), str(reader)],
                pass_fds=[reader],
                env={},
                cwd="/",
                stdin=subprocess.DEVNULL,
                # Of its own, so that no signal to the worker's group freezes both.
                start_new_session=True,
            )
        finally:
            os.close(reader)

    def renew(self, until: float) -> None:
        """Let this process live until then, in seconds of `watchdog.clock`."""
        os.write(self._writer, watchdog.MESSAGE.pack(until))

    def release(self) -> None:
        """Nothing is held any more."""
        self.renew(0.0)

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        """End the watchdog, with nothing held."""
        os.close(self._writer)
        self._process.wait()


class _Holder:
    """The one guard of a worker; a process that is no worker (a test, a bench) has none."""

    def __init__(self) -> None:
        self.guard: Guard | None = None
        self.lock = threading.Lock()


_HELD = _Holder()


def guard_this_process() -> None:
    """From now on what this process runs is ended with it when it cannot tell that it lives."""
    with _HELD.lock:
        if _HELD.guard is None:
            _HELD.guard = Guard()


def mend() -> None:
    """Between two starts: a watchdog that died has a successor. A process that had none has none still."""
    with _HELD.lock:
        if _HELD.guard is not None and not _HELD.guard.lives:
            _HELD.guard.close()
            _HELD.guard = Guard()


def renew(began: float) -> None:
    """A heartbeat that began then, in seconds of `watchdog.clock`, was written."""
    if _HELD.guard is not None:
        _HELD.guard.renew(began + seconds())


def release() -> None:
    """The start is over, and its end is written. A watchdog that died meanwhile holds nothing any more."""
    if _HELD.guard is not None:
        with contextlib.suppress(BrokenPipeError):
            _HELD.guard.release()
