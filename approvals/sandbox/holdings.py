"""What the processes of a job hold in the kernel that no process shows as its memory: pipes, watched
descriptors (epoll), mappings, open files. An estimate from above, for the tier that polls.

Sizes are those of the kernel's own objects on 64-bit machines, rounded up. Format: proc_pid_fdinfo(5),
proc_pid_maps(5), proc_pid_status(5).
"""

from __future__ import annotations

import functools
import re
import time
from pathlib import Path

from approvals.sandbox import procfs

# What a pipe holds at most where its size cannot be changed.
_PIPE_BYTES = 16 * 4096
_FILE_BYTES, _WATCH_BYTES, _MAPPING_BYTES = 512, 256, 320
# To look takes a share of the time, at most, and still is done so often.
_SHARE, _SOONEST, _LATEST = 0.1, 0.05, 0.5
_DESCRIPTORS = re.compile(rb"^FDSize:\s+(\d+)", re.MULTILINE)
_SPACE = re.compile(rb"^VmSize:\s+(\d+) kB", re.MULTILINE)


class Holdings:
    """Counts them for one job: all at times, and at once where those not yet seen may decide."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._pipes = 0
        self._next = self._soonest = 0.0

    def count(self, proc: int, statuses: dict[str, bytes], *, room: int) -> int:
        """Bytes that the processes with these /proc/PID/status hold. ``room``: more than this is too much,
        so that the count stops there.
        """
        # What forks takes all it holds along.
        largest = max(self._known.values(), default=0)
        guess = self._pipes + sum(self._known.get(pid, largest) for pid in statuses)
        now = time.monotonic()
        if now >= self._next or (guess > room and now >= self._soonest):
            guess = self._look(proc, statuses, room=room)
        return guess

    def _look(self, proc: int, statuses: dict[str, bytes], *, room: int) -> int:
        begun = time.monotonic()
        may_map = {pid: _MAPPING_BYTES * _mappings_at_most(status) for pid, status in statuses.items()}
        suspicious = sum(may_map.values()) > room
        pipes: set[str] = set()
        known: dict[str, int] = {}
        left = room
        for pid, status in statuses.items():
            known[pid] = _descriptors(proc, pid, status, pipes=pipes, room=left)
            if suspicious:
                known[pid] += _MAPPING_BYTES * _lines(proc, f"{pid}/maps", most=left // _MAPPING_BYTES)
            left = room - sum(known.values()) - _PIPE_BYTES * len(pipes)
            if left < 0:
                break
        self._known, self._pipes = known, _PIPE_BYTES * len(pipes)
        ended = time.monotonic()
        self._soonest = ended + (ended - begun)
        self._next = ended + min(_LATEST, max(_SOONEST, (ended - begun) / _SHARE))
        return room - left


def _descriptors(proc: int, pid: str, status: bytes, *, pipes: set[str], room: int) -> int:
    """Bytes behind the descriptors of one process, without its pipes: those are added to ``pipes``."""
    names = procfs.names(proc, f"{pid}/fd")
    if names is None:
        return _hidden(status)
    charge = _FILE_BYTES * len(names)
    for name in names:
        target = procfs.link(proc, f"{pid}/fd/{name}")
        if target.startswith("pipe:"):
            pipes.add(target)
        elif target == "anon_inode:[eventpoll]":
            most = (room - charge) // _WATCH_BYTES
            charge += _WATCH_BYTES * _lines(proc, f"{pid}/fdinfo/{name}", most=most)
    return charge


def _hidden(status: bytes) -> int:
    """The most that the table of a process that hides it can hold; one that has ended holds nothing."""
    if not _SPACE.search(status):
        return 0
    size = procfs.most(_DESCRIPTORS, status)
    return size * max(_PIPE_BYTES, size * _WATCH_BYTES // 4)


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
