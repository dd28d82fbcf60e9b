"""The tier without a cgroup: resource limits a process, and a poller over the whole tree.

It reads the sandbox's own /proc, whose descriptor the init hands out, so it sees every process of the job
however often that forked and re-parented, and no other. Field meanings: proc(5).
"""

from __future__ import annotations

import functools
import os
import platform
import random
import re
import time
from pathlib import Path

from approvals.sandbox import procfs
from approvals.sandbox.cputime import CpuTime
from approvals.sandbox.holdings import Holdings
from approvals.sandbox.job import Limits
from approvals.sandbox.locks import Locks
from approvals.sandbox.meter import Folders, Reading

TIER = "bwrap+poller"
_INTERVAL = 0.05
_SHORTEST = 0.001
_RECOUNT = 0.025
# How fast one core can take pages it never had; the poll comes sooner the less room is left.
_FILL_BYTES_PER_SECOND = 4 * 1024**3
_PRIVATE = re.compile(rb"^(?:RssAnon|VmSwap):\s+(\d+) kB", re.MULTILINE)
_MEMORY = re.compile(rb"^(?:RssAnon|RssShmem|VmSwap):\s+(\d+) kB", re.MULTILINE)
_SHARED = re.compile(rb"^(?:Pss_Anon|Pss_Shmem|SwapPss):\s+(\d+) kB", re.MULTILINE)
_SOCKETS = re.compile(rb"^sockets: used (\d+)", re.MULTILINE)
_TCP = re.compile(rb"^TCP6?: inuse (\d+)", re.MULTILINE)
_TABLES = re.compile(rb"^VmPTE:\s+(\d+) kB", re.MULTILINE)
_SPACE = re.compile(rb"^VmSize:", re.MULTILINE)
_THREADS = re.compile(rb"^Threads:\s+(\d+)", re.MULTILINE)


class Poller:
    """A Meter that polls. Limits hold within one poll's distance: 50 ms, less near the memory limit."""

    tier = TIER

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._cpu, self._holdings, self._locks = CpuTime(), Holdings(), Locks()
        self._first: dict[str, int] = {}
        self._peak = 0
        self._headroom = int(limits.memory_bytes)
        self._overlap = 0
        self._counted = 0.0
        self._most_pids = 0

    @property
    def interval(self) -> float:
        fill = _FILL_BYTES_PER_SECOND * (os.cpu_count() or 1)
        # Not to be foreseen, for what runs is sampled.
        usual = _INTERVAL * random.uniform(0.6, 1)
        return min(usual, max(_SHORTEST, self._headroom / fill))

    def approach(self) -> None:
        """Nothing to do."""

    def bound(self, limits: Limits) -> None:
        self._limits = limits
        self._headroom = int(limits.memory_bytes)

    def admit(self, pid: int) -> None:
        """Nothing to do: the init's namespace says which processes are the job's."""

    def rlimits(self) -> dict[str, tuple[int, int]]:
        # Far above the limit: address space is not memory, and a bound on one process bounds no tree. Only
        # what no machine could hold is refused at once; what is taken is for the poller to see.
        space = max(256 * int(self._limits.memory_bytes), 64 * 1024**3)
        bounds = {"RLIMIT_AS": space, "RLIMIT_DATA": space, "RLIMIT_NPROC": int(self._limits.pids) + 1}
        if _kernel() < (5, 14):
            # Older kernels count every process of the account, in and out of the sandbox.
            bounds["RLIMIT_NPROC"] = 4096
        return {name: (value, value) for name, value in bounds.items()}

    def sample(self, folders: Folders) -> Reading:
        stored = folders.used()[0] + _buffers(folders.proc)
        pids = procfs.processes(folders.proc)
        memory, threads = self._memory(folders.proc, pids, stored=stored)
        cpu = self._cpu.read(folders.proc, pids)
        over = memory + stored > self._limits.memory_bytes
        over = over or self._locks.too_many(folders.proc, cpu_seconds=cpu)
        self._headroom = int(self._limits.memory_bytes) - memory - stored
        self._peak = max(self._peak, memory + stored)
        self._most_pids = max(self._most_pids, threads)
        return Reading(
            cpu_seconds=cpu,
            peak_bytes=self._peak,
            over_memory=over,
            over_pids=threads > self._limits.pids,
            pids_refused=self._most_pids >= self._limits.pids,
        )

    def close(self) -> None:
        """Nothing is held."""

    def _memory(self, proc: int, pids: list[str], *, stored: int) -> tuple[int, int]:
        """Bytes of memory of all processes but the init, with what they hold in the kernel; and threads."""
        texts = dict(_status(proc, pid) for pid in pids if pid != "1")
        threads = sum(int(n) for text in texts.values() for n in _THREADS.findall(text))
        sizes = {pid: procfs.sum_kib(_MEMORY, text) for pid, text in texts.items()}
        certain = self._certain({pid: procfs.sum_kib(_PRIVATE, text) for pid, text in texts.items()})
        limit = int(self._limits.memory_bytes) - stored
        kernel = sum(procfs.sum_kib(_TABLES, text) for text in texts.values())
        kernel += self._holdings.count(proc, texts, room=limit - kernel - certain)
        return kernel + self._judge(proc, sizes, certain=certain, limit=limit - kernel), threads

    def _judge(self, proc: int, sizes: dict[str, int], *, certain: int, limit: int) -> int:
        """The bytes the tree takes, exactly only where that decides.

        The sum counts what forked processes share once for each. The exact count takes milliseconds, in which
        a bomb grows, so what it found to be shared is taken as read for a while.
        """
        total = sum(sizes.values())
        if total <= limit or certain > limit:
            return total if total <= limit else certain
        fresh = time.monotonic() - self._counted < _RECOUNT
        if fresh and total - self._overlap <= limit:
            return max(certain, total - self._overlap)
        exact = sum(_shared(proc, pid) for pid in sizes)
        self._overlap, self._counted = total - exact, time.monotonic()
        return exact

    def _certain(self, private: dict[str, int]) -> int:
        """A lower bound: the largest process, and what the others took since they were first seen."""
        self._first = {pid: self._first.get(pid, size) for pid, size in private.items()}
        grown = {pid: max(0, size - self._first[pid]) for pid, size in private.items()}
        largest = max(private, key=lambda pid: private[pid], default="")
        return sum(grown.values()) - grown.get(largest, 0) + private.get(largest, 0)


def _status(proc: int, pid: str) -> tuple[str, bytes]:
    """Where a process shows what it takes, and its status there: a main thread that has ended shows nothing
    of what the others go on with.
    """
    status = procfs.text(proc, pid, "status")
    if not _SPACE.search(status) and procfs.most(_THREADS, status) > 1:
        for task in procfs.tasks(proc, pid):
            other = procfs.text(proc, f"{pid}/task/{task}", "status")
            if _SPACE.search(other):
                return f"{pid}/task/{task}", other
    return pid, status


def _shared(proc: int, pid: str) -> int:
    """Bytes of one process, shared pages divided among their users; its full size where that is hidden."""
    rollup = procfs.text(proc, pid, "smaps_rollup")
    if _SHARED.search(rollup):
        return procfs.sum_kib(_SHARED, rollup)
    return procfs.sum_kib(_MEMORY, procfs.text(proc, pid, "status"))


@functools.cache
def _socket_bytes() -> tuple[int, int]:
    """What the buffers of one TCP socket, and of one other socket, can hold.

    TCP: the most that it grows its send buffer to by itself. Others: twice the default (with what the kernel
    adds), which the filter keeps them from enlarging.
    """
    tcp = int(Path("/proc/sys/net/ipv4/tcp_wmem").read_text().split()[2])
    return max(4 * 1024**2, tcp), 2 * int(Path("/proc/sys/net/core/wmem_default").read_text())


def _buffers(proc: int) -> int:
    """What the sockets of the job's network namespace can hold, in bytes: no process shows it as its own."""
    text = procfs.text(proc, "1", "net/sockstat") + procfs.text(proc, "1", "net/sockstat6")
    tcp = sum(int(count) for count in _TCP.findall(text))
    others = sum(int(count) for count in _SOCKETS.findall(text)) - tcp
    per_tcp, per_other = _socket_bytes()
    return tcp * per_tcp + max(0, others) * per_other


def _kernel() -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", platform.release())
    return (int(found[1]), int(found[2])) if found else (0, 0)
