"""The CPU time of a tree of processes, without a cgroup that counts it. Field meanings: proc_pid_stat(5).

What processes show of themselves, and what parents waited for, the kernel counts; but it forgets children
that nobody waits for, and shows none for the first 10 ms. So small processes are sampled as well: one that
runs when it is looked at stands for the time since the last look. Over many looks that is as much as they
took, whoever they were, less a margin for chance.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

from approvals.sandbox import procfs

_TICKS = os.sysconf("SC_CLK_TCK")
# From here on what a process shows is near enough to what it took, which is rounded down twice.
_LARGE_TICKS = 5
_MARGIN = 3.0
_RUNNING, _OWN, _WAITED, _THREADS, _BEGUN = 0, slice(11, 13), slice(13, 15), 17, 19
Key = tuple[str, bytes]


class CpuTime:
    """Sums up one job's, from one look to the next."""

    def __init__(self) -> None:
        self._large: dict[Key, int] = {}
        self._small: dict[Key, int] = {}
        self._samples: dict[Key, list[float]] = {}
        self._looked = math.nan
        self._most = 0.0

    def read(self, proc: int, pids: list[str]) -> float:
        """Seconds so far, of all these processes, and those that were here before."""
        now = time.monotonic()
        elapsed = 0.0 if math.isnan(self._looked) else now - self._looked
        self._looked = now
        waited = 0
        for pid in pids:
            fields = procfs.fields(proc, pid)
            if len(fields) > _BEGUN:
                own = sum(map(int, fields[_OWN]))
                waited += own + sum(map(int, fields[_WAITED]))
                self._note(proc, pid, fields, own=own, elapsed=elapsed)
        self._most = max(self._most, waited / _TICKS, self._seen())
        return self._most

    def _note(self, proc: int, pid: str, fields: list[bytes], *, own: int, elapsed: float) -> None:
        key = (pid, fields[_BEGUN])
        if own >= _LARGE_TICKS:
            self._large[key] = own
            self._small.pop(key, None)
            self._samples.pop(key, None)
            return
        self._small[key] = own
        # The init is ours, and waits.
        running = 0.0 if pid == "1" else _running(proc, pid, fields)
        if running:
            self._samples.setdefault(key, []).append(running * elapsed)

    def _seen(self) -> float:
        large, small = sum(self._large.values()) / _TICKS, sum(self._small.values()) / _TICKS
        samples = [sample for taken in self._samples.values() for sample in taken]
        chance = math.sqrt(math.fsum(sample * sample for sample in samples))
        return large + max(small, math.fsum(samples) - _MARGIN * chance)


def _running(proc: int, pid: str, fields: list[bytes]) -> float:
    """How many processors a process seems to occupy now."""
    if int(fields[_THREADS]) == 1:
        paths = [pid] if fields[_RUNNING] == b"R" else []
    else:
        paths = [f"{pid}/task/{task}" for task in procfs.tasks(proc, pid)]
        paths = [path for path in paths if procfs.fields(proc, path)[:1] == [b"R"]]
    return sum(_occupied(proc, path) for path in paths)


def _occupied(proc: int, path: str) -> float:
    """The share of a processor that a task has which could run: a busy host lets it wait.

    What it waits now it is not told to have waited yet, so those that could run on the whole host count too.
    """
    times = procfs.text(proc, path, "schedstat").split()
    ran, waited = (int(times[0]), int(times[1])) if len(times) > 1 else (0, 0)
    runnable = int(Path("/proc/loadavg").read_bytes().split()[3].partition(b"/")[0])
    own = ran / (ran + waited) if ran + waited else 1.0
    return min(own, (os.cpu_count() or 1) / max(1, runnable))
