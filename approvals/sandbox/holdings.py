"""What the processes of a job hold in the kernel that no process shows as its memory: pipes, watched
descriptors (epoll), mappings, open files. An estimate from above, for the tier that polls.

Sizes are those of the kernel's own objects on 64-bit machines, rounded up. Format: proc_pid_fdinfo(5),
proc_pid_maps(5), proc_pid_status(5).
"""

from __future__ import annotations

import functools
import math
import re
import time
from dataclasses import dataclass
from pathlib import Path

from approvals.sandbox import procfs

# What a pipe holds at most where its size cannot be changed.
_PIPE_BYTES = 16 * 4096
_FILE_BYTES, _WATCH_BYTES, _MAPPING_BYTES = 512, 256, 320
_MANY_MAPPINGS = 4096
# To look takes a share of the time, at most, and still is done so often.
_SHARE, _SOONEST, _LATEST = 0.1, 0.05, 0.5
# Seconds within which the job's first process shows itself, unless it is one that hides.
_START = 5.0
_DESCRIPTORS = re.compile(rb"^FDSize:\s+(\d+)", re.MULTILINE)
_SPACE = re.compile(rb"^VmSize:\s+(\d+) kB", re.MULTILINE)


@dataclass(frozen=True)
class _Held:
    """Bytes that one process holds without its pipes, and those: others may hold them too."""

    charge: int
    pipes: frozenset[str]


class Holdings:
    """Counts them for one job: all at times, and at once where those not yet seen may decide."""

    def __init__(self) -> None:
        self._known: dict[str, _Held] = {}
        self._next = self._soonest = 0.0
        # The job's first process is hidden while it is ours, until it becomes the job.
        self._ours_until = math.nan

    def count(self, proc: int, statuses: dict[str, bytes], *, room: int) -> int:
        """Bytes that the processes with these /proc/PID/status hold. ``room``: more than this is too much,
        so that the count stops there.
        """
        self._known = {pid: held for pid, held in self._known.items() if pid in statuses}
        # What forks takes all it holds along.
        largest = max((held.charge for held in self._known.values()), default=0)
        guess = self._sum() + largest * (len(statuses) - len(self._known))
        now = time.monotonic()
        if math.isnan(self._ours_until):
            self._ours_until = now + _START
        if now >= self._next:
            self._known = {}
            self._look(proc, statuses, room=room)
        elif guess > room and now >= self._soonest:
            self._look(proc, statuses, room=room)
        else:
            return guess
        return self._sum()

    def _sum(self) -> int:
        pipes = frozenset[str]().union(*(held.pipes for held in self._known.values()))
        return sum(held.charge for held in self._known.values()) + _PIPE_BYTES * len(pipes)

    def _look(self, proc: int, statuses: dict[str, bytes], *, room: int) -> None:
        """Count what is not known yet, until there is too much."""
        begun = time.monotonic()
        suspicious = _MAPPING_BYTES * sum(map(_mappings_at_most, statuses.values())) > room
        left, copied = room - self._sum(), dict[int, int]()
        for pid in statuses.keys() - self._known.keys():
            if left < 0:
                break
            held = self._held(proc, pid, statuses[pid], room=left)
            if suspicious:
                lines = _mappings(proc, pid, statuses[pid], copied, most=left // _MAPPING_BYTES)
                held = _Held(held.charge + _MAPPING_BYTES * lines, held.pipes)
            self._known[pid] = held
            left -= held.charge + _PIPE_BYTES * len(held.pipes)
            if left < 0:
                # Pipes that several have were taken for more than there are.
                left = room - self._sum()
        ended = time.monotonic()
        self._soonest = ended + (ended - begun)
        self._next = ended + min(_LATEST, max(_SOONEST, (ended - begun) / _SHARE))

    def _held(self, proc: int, pid: str, status: bytes, *, room: int) -> _Held:
        names = procfs.names(proc, f"{pid}/fd")
        if names is not None:
            self._ours_until = 0.0
            return _descriptors(proc, pid, names, room=room)
        ours = time.monotonic() < self._ours_until
        return _Held(0 if ours else _hidden(status), frozenset())


def _descriptors(proc: int, pid: str, names: list[str], *, room: int) -> _Held:
    """What is behind the descriptors of one process."""
    charge = _FILE_BYTES * len(names)
    pipes = set()
    for name in names:
        target = procfs.link(proc, f"{pid}/fd/{name}")
        if target.startswith("pipe:"):
            pipes.add(target)
        elif target == "anon_inode:[eventpoll]":
            most = (room - charge) // _WATCH_BYTES
            charge += _WATCH_BYTES * _lines(proc, f"{pid}/fdinfo/{name}", most=most)
    return _Held(charge, frozenset(pipes))


def _hidden(status: bytes) -> int:
    """The most that the table of a process that hides it can hold; one that has ended holds nothing."""
    if not _SPACE.search(status):
        return 0
    size = procfs.most(_DESCRIPTORS, status)
    return size * max(_PIPE_BYTES, size * _WATCH_BYTES // 4)


def _mappings(proc: int, pid: str, status: bytes, copied: dict[int, int], *, most: int) -> int:
    """Of one process. ``copied`` keeps great numbers by size of address space: a fork has both from its
    parent, and to count takes a while.
    """
    space = procfs.most(_SPACE, status)
    found = copied.get(space) or _lines(proc, f"{pid}/maps", most=most)
    if found >= _MANY_MAPPINGS:
        copied[space] = found
    return found


def _mappings_at_most(status: bytes) -> int:
    return min(_most_mappings(), procfs.most(_SPACE, status) // 4)


@functools.cache
def _most_mappings() -> int:
    return int(Path("/proc/sys/vm/max_map_count").read_text())


def _lines(proc: int, path: str, *, most: int) -> int:
    """How many lines a file has; some more than ``most`` is enough."""
    found = 0
    for data in procfs.chunks(proc, path):
        found += data.count(b"\n")
        if found > most:
            break
    return found
