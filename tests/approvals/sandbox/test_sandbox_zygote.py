"""Sandboxes that come of one zygote: like any other, strangers to each other, and gone with it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from approvals import sandbox
from approvals.sandbox import Job, Outcome, SandboxUnavailable, nursery
from approvals.sandbox.pool import Pool

WAITS = "import time; print('up', flush=True); time.sleep(30)"
REPORT = """
import ctypes, json, os, socket
def status(pid):
    lines = [line.split(':\\t', 1)
        for line in open(f'/proc/{pid}/status').read().splitlines()]
    return [line for line in lines if line[0][:3] in ('Cap', 'Uid', 'Gid', 'NoN', 'Gro', 'Sec')]
def text(name): return open(f'/proc/self/{name}').read().split()
def writable():
    # The zygote's /proc lies below a clone's own, where nothing inside can uncover it.
    options = {line.split()[1]: line.split()[3] for line in open('/proc/self/mounts')}
    return sorted(point for point in options if options[point].split(',')[0] == 'rw')
print(json.dumps([status('self'), status(1), *(text(n)[::2] for n in ('uid_map', 'gid_map', 'setgroups')),
    writable(), sorted(os.listdir('/')), sorted(os.listdir('/etc')), os.listdir('/in'), os.listdir('/run'),
    sorted(os.listdir('/dev')), [n for n in os.listdir('/proc') if n.isdigit()], socket.gethostname(),
    socket.if_nameindex(), os.getppid(), os.getsid(0) == os.getpid(), sorted(os.environ.items()),
    open('/proc/sys/user/max_user_namespaces').read(), open('/proc/keys').read(),
    sorted(os.listdir('/proc/self/fd')), os.stat('/proc/1').st_uid, os.stat('/').st_uid,
    ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)]))
"""
UNCOVERS = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
print(libc.umount2(b'/proc', 2), ctypes.get_errno(), libc.unshare(0x10020000), ctypes.get_errno())
"""
LEAVES = """
import os, socket
for folder in ('/tmp', '/out', '/dev/shm'): open(f'{folder}/mine', 'w').write('mine')
one = socket.create_server(('127.0.0.1', 7007))
other = socket.socket(socket.AF_UNIX); other.bind('\\0mine'); other.listen()
"""
SEEKS = """
import os, signal, socket
for folder in ('/tmp', '/out', '/dev/shm', '/in', '/run'): print(sorted(os.listdir(folder)))
print(sorted(name for name in os.listdir('/proc') if name.isdigit()))
for family, address in ((socket.AF_INET, ('127.0.0.1', 7007)), (socket.AF_UNIX, '\\0mine')):
    try: socket.socket(family).connect(address); print('reached', address)
    except OSError: pass
for attempt in (lambda: os.kill(1, signal.SIGKILL), lambda: os.listdir('/proc/1/root'),
                lambda: os.open('/proc/1/mem', os.O_RDWR), lambda: os.kill(-1, signal.SIGKILL)):
    try: attempt()
    except OSError: pass
"""


@pytest.fixture
def kept() -> Iterator[Pool]:
    with sandbox.warm(1) as pool:
        assert pool is not None
        assert pool.wait_until_full(seconds=30)
        yield pool


@contextmanager
def running(job: Job) -> Iterator[tuple[int, Future[Outcome]]]:
    """A job that has printed something, by its process and what will become of it; stopped at the end."""
    pids: list[int] = []
    said, stop = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as thread:
        outcome = thread.submit(
            sandbox.run, job, on_start=pids.append, on_output=lambda stream, text: said.set(), stop=stop
        )
        assert said.wait(10)
        yield pids[0], outcome
        stop.set()


def ran(job: Job) -> tuple[Outcome, int]:
    """The outcome, and the zygote that the job's sandbox came of."""
    zygotes: list[int] = []
    outcome = sandbox.run(job, on_start=lambda pid: zygotes.append(zygote(pid)))
    return outcome, zygotes[0]


def zygote(job: int) -> int:
    return parent(parent(job))


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_the_next_job_comes_of_the_same_zygote_though_none_stands(kept: Pool) -> None:
    ours = zygote(kept.pids()[0])
    assert Path(f"/proc/{ours}/cmdline").read_bytes().endswith(b"\0zygote\0")
    found = [ran(Job(source=f"print({number})")) for number in range(3)]
    assert [(outcome.stdout, of) for outcome, of in found] == [(f"{number}\n", ours) for number in range(3)]


def test_it_has_what_one_by_bubblewrap_has() -> None:
    alone = sandbox.run(Job(source=REPORT))
    with sandbox.warm(1) as kept:
        assert kept is not None
        assert kept.wait_until_full(seconds=30)
        stood = ran(Job(source=REPORT))[0]
        sprung = ran(Job(source=REPORT))[0]
    assert stood.stdout == sprung.stdout == alone.stdout
    assert alone.stderr == stood.stderr == ""


def test_what_lies_below_its_mounts_stays_covered(kept: Pool) -> None:
    assert ran(Job(source=UNCOVERS))[0].stdout == "-1 1 -1 1\n"


def test_siblings_share_nothing(kept: Pool) -> None:
    with running(Job(source=LEAVES + WAITS, files={"secret": b"mine"})) as (_, first):
        second, _ = ran(Job(source=SEEKS, files={"given": b""}))
        assert second.stdout == "[]\n[]\n[]\n['given']\n['job.py']\n['1', '2']\n"
        assert not first.done()


def test_a_killed_zygote_takes_its_jobs_along_and_another_comes(kept: Pool) -> None:
    with running(Job(source=WAITS)) as (job, outcome):
        dead = zygote(job)
        os.kill(dead, signal.SIGKILL)
        assert outcome.result(10).ended == "lost"
    assert sandbox.run(Job(source="print(1)")).stdout == "1\n"
    assert another(kept, dead) != dead


def another(kept: Pool, old: int) -> int:
    """The zygote of what stands, once it is no longer the old one."""
    deadline = time.monotonic() + 10
    found = old
    while found == old and time.monotonic() < deadline:
        found = next((zygote(pid) for pid in kept.pids() if Path(f"/proc/{pid}").exists()), old)
        time.sleep(0.01)
    return found


def test_an_old_zygote_ends_after_its_last_job(kept: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(Job(source=WAITS)) as (job, outcome):
        old = zygote(job)
        monkeypatch.setattr(nursery, "MAX_AGE_SECONDS", 0.0)
        assert another(kept, old) != old
        assert not outcome.done()
    assert outcome.result(10).ended == "stopped"
    assert not Path(f"/proc/{old}").exists()


def test_where_none_brings_forth_each_has_its_own_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> None:
    def barren(zygote: nursery.Zygote) -> None:
        raise SandboxUnavailable("the kernel gives no namespaces")

    monkeypatch.setattr(nursery.Zygote, "bear", barren)
    with sandbox.warm(1) as kept:
        assert kept is not None
        assert kept.wait_until_full(seconds=30)
        assert not Path(f"/proc/{zygote(kept.pids()[0])}/cmdline").read_bytes().endswith(b"\0zygote\0")
        assert sandbox.run(Job(source="print(1)")).stdout == "1\n"


def test_what_a_pool_brought_forth_is_gone_when_it_ends() -> None:
    with sandbox.warm(1) as kept:
        assert kept is not None
        assert kept.wait_until_full(seconds=30)
        pids = [kept.pids()[0], parent(kept.pids()[0]), zygote(kept.pids()[0])]
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
