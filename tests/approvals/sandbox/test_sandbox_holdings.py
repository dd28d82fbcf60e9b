"""What a process holds is counted, also by a worker that is not root and a process that hides it."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from approvals.sandbox import MiB
from approvals.sandbox.cputime import CpuTime
from approvals.sandbox.holdings import Holdings
from approvals.sandbox.locks import Locks

PR_SET_DUMPABLE = 4
NOBODY = 65534


@pytest.fixture
def proc() -> Iterator[int]:
    folder = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    yield folder
    os.close(folder)


def in_a_child(act: Callable[[], None]) -> int:
    """A process without privileges that has done so, and waits."""
    ready, done = os.pipe()
    child = os.fork()
    if child == 0:
        if os.getuid() == 0:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        act()
        os.write(done, b".")
        while True:
            signal.pause()
    os.close(done)
    os.read(ready, 1)
    os.close(ready)
    return child


def end(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def held(proc: int, child: int) -> int:
    status = Path(f"/proc/{child}/status").read_bytes()
    count = Holdings()
    # The job has begun: one of its processes was seen.
    count.count(proc, {str(os.getpid()): Path("/proc/self/status").read_bytes()}, room=1024 * MiB)
    time.sleep(0.5)
    return count.count(proc, {str(child): status}, room=1024 * MiB)


def hide() -> None:
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def many_pipes() -> None:
    for _ in range(100):
        os.pipe()


def watch_much() -> None:
    events = [os.eventfd(0) for _ in range(50)]
    for _ in range(20):
        watcher = select.epoll()
        for event in events:
            watcher.register(event, select.EPOLLIN)
        globals().setdefault("kept", []).append(watcher)


@pytest.mark.parametrize(("act", "least"), [(many_pipes, 100 * 65536), (watch_much, 20 * 50 * 200)])
def test_what_is_shown_is_counted(proc: int, act: Callable[[], None], least: int) -> None:
    child = in_a_child(act)
    try:
        assert least < held(proc, child) < 3 * least
    finally:
        end(child)


def as_a_stranger(child: int, look: Callable[[], int]) -> int:
    """What a worker that is not root finds of a process, which ends then."""
    told, tell = os.pipe()
    looker = in_a_child(lambda: os.write(tell, str(look()).encode()) and None)
    try:
        return int(os.read(told, 20))
    finally:
        for each in (child, looker):
            end(each)
        for number in (told, tell):
            os.close(number)


def test_what_is_hidden_counts_as_the_most_there_can_be(proc: int) -> None:
    hidden = in_a_child(hide)
    assert as_a_stranger(hidden, lambda: held(proc, hidden)) >= 64 * 65536


def test_before_the_job_begins_what_is_hidden_is_ours(proc: int) -> None:
    hidden = in_a_child(hide)
    status = {str(hidden): Path(f"/proc/{hidden}/status").read_bytes()}
    assert as_a_stranger(hidden, lambda: Holdings().count(proc, status, room=1024 * MiB)) == 0


def test_one_that_has_ended_holds_nothing(proc: int) -> None:
    child = in_a_child(many_pipes)
    os.kill(child, signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    try:
        assert held(proc, child) == 0
    finally:
        os.waitpid(child, 0)


def test_time_is_what_a_process_shows(proc: int) -> None:
    pids = [str(os.getpid())]
    count = CpuTime()
    before = count.read(proc, pids)
    until = time.process_time() + 0.06
    while time.process_time() < until:
        pass
    assert 0.03 < count.read(proc, pids) - before < 0.3


def test_a_host_full_of_locks_is_not_the_jobs(tmp_path: Path) -> None:
    """Some belong to no process: an open file's, another machine's."""
    lines = [
        b"1: OFDLCK ADVISORY  WRITE -1 00:3a:12 %d %d\n2: POSIX  ADVISORY  READ  -7 00:3a:12 0 EOF\n" % (n, n)
        for n in range(9000)
    ]
    assert not many(tmp_path, b"".join(lines))


def test_many_locks_of_the_job_are_too_many(tmp_path: Path) -> None:
    lines = [b"%d: POSIX  ADVISORY  WRITE 7 00:3a:12 %d %d\n" % (n, n, n) for n in range(4500)]
    waiting = [b"%d: -> FLOCK  ADVISORY  READ  9 00:3a:12 0 EOF\n" % n for n in range(4500)]
    assert many(tmp_path, b"".join(lines + waiting))


def many(folder: Path, content: bytes) -> bool:
    """Whether a list of locks, of a sandbox with two processes, is too long."""
    for name in ("1", "2"):
        (folder / name).mkdir()
    (folder / "locks").write_bytes(content)
    proc = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return Locks().too_many(proc, cpu_seconds=1.0)
    finally:
        os.close(proc)
