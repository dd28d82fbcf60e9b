"""Byte-range locks: kernel memory that no tier's kernel counts, so they are counted here.

Format: proc_locks(5). Read through the sandbox's /proc it names the locks of its own processes, and those
that belong to no process by a number below one; the filter of system calls refuses the job that kind.
"""

from __future__ import annotations

import re
import time

from approvals.sandbox import procfs

_MOST = 8192
# The kernel waits for a grace period, some 10 ms, before it lists them; and to take many costs CPU.
_CPU_STEP, _PAUSE = 0.1, 0.1
_OURS = re.compile(rb" (?:READ|WRITE|UNLCK) +[1-9]\d* ")


class Locks:
    """Counts one job's locks, now and then."""

    def __init__(self) -> None:
        self._cpu = self._looked = 0.0
        self._many = False

    def too_many(self, proc: int, *, cpu_seconds: float) -> bool:
        """Whether the job, which spent so much up to now, was found to hold more than anyone needs."""
        now = time.monotonic()
        if not self._many and cpu_seconds - self._cpu >= _CPU_STEP and now - self._looked >= _PAUSE:
            self._cpu, self._many = cpu_seconds, self._count(proc) > _MOST
            self._looked = time.monotonic()
        return self._many

    def _count(self, proc: int) -> int:
        # The locks of a job that has ended are gone, and its end is not to wait for the list.
        found = 0
        if len(procfs.processes(proc)) > 1:
            for data in procfs.chunks(proc, "locks"):
                found += len(_OURS.findall(data))
                if found > _MOST:
                    break
        return found
