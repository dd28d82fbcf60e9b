"""The process beside a worker that ends it once it has not renewed its lease in time.

    python -I -S watchdog.py PARENT DESCRIPTOR

A worker that is frozen, or waits for a database that does not answer, cannot end itself, and its job would go
on while others take it for dead. SIGKILL reaches a stopped process too, and the kernel ends the sandbox with
the worker. This file runs alone, with nothing but the standard library.

Each message is one double, native order: until when, in seconds of `clock()`, the lease holds; 0.0 means that
there is none. The end of the stream means that the worker is gone.
"""

from __future__ import annotations

import os
import select
import signal
import struct
import sys
import time

MESSAGE = struct.Struct("d")
# It goes on while the machine sleeps, as the clocks of all others do.
CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def clock() -> float:
    """Seconds that no change of the time of day moves."""
    return time.clock_gettime(CLOCK)


def watch(parent: int, descriptor: int) -> None:
    """Read renewals until the stream ends; kill `parent` when a lease runs out."""
    until, rest = 0.0, b""
    while True:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, until - clock()) if until else None)
        if ready:
            data = os.read(descriptor, 4096)
            if not data:
                return
            rest += data
            whole = len(rest) - len(rest) % MESSAGE.size
            if whole:
                (until,) = MESSAGE.unpack(rest[whole - MESSAGE.size : whole])
                rest = rest[whole:]
        # What was said meanwhile comes first: a lease that was renewed in the database is one.
        elif until and clock() >= until:
            _kill(parent)
            until = 0.0


def _kill(parent: int) -> None:
    # As long as it is our parent, its number is nobody else's.
    if os.getppid() == parent:
        os.kill(parent, signal.SIGKILL)


if __name__ == "__main__":
    # Whoever stops the worker's group must not end its watch before it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watch(int(sys.argv[1]), int(sys.argv[2]))
