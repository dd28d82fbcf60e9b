"""Whatever dies, and whenever: nothing of a job stays."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from approvals import sandbox
from approvals.sandbox import Job, Limits, cgroup

REPOSITORY = Path(__file__).resolve().parents[3]
PR_SET_CHILD_SUBREAPER = 36
CALLER = """
import sys
sys.path.insert(0, sys.argv[1])
from approvals import sandbox
source = "import os, time\\nfor _ in range(3): os.fork() or os.setsid()\\ntime.sleep(99)"
sandbox.status()
print("up", flush=True)
sandbox.run(sandbox.Job(source=source), on_start=lambda pid: print(pid, flush=True))
"""
AS_NORMAL_USER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from approvals import sandbox
source = "open('a', 'w').write(open('/in/x').read()); print(1)"
outcome = sandbox.run(sandbox.Job(source=source, files={"x": b"in"}))
bomb = sandbox.run(sandbox.Job(source="a = []\\nwhile True: a.append(bytearray(1 << 26))"))
print(json.dumps([outcome.status, outcome.stdout, outcome.artifacts[0].content.decode(), bomb.ended]))
"""
# The kernel lets nobody but root read a process whose program may be executed and not read.
UNREADABLE = """
import sys
sys.path.insert(0, sys.argv[1])
from approvals import sandbox
source = "import os, shutil; shutil.copy('/bin/cat', '/tmp/cat'); os.chmod('/tmp/cat', 0o111); "
outcome = sandbox.run(sandbox.Job(source=source + "os.execv('/tmp/cat', ['cat', '/etc/shadow'])"))
print(outcome.executed, [item.how for item in outcome.watched.opened if item.what.startswith('call ')])
"""


@pytest.fixture
def orphans() -> Iterator[None]:
    """Processes whose parent dies become this one's children, so that none can hide."""
    libc = ctypes.CDLL(None)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    yield
    libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def children() -> set[int]:
    """Living processes below this one."""
    found: set[int] = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid() and fields[0] != "Z":
                found.add(int(stat.parent.name))
    return found


def wait_for_none(before: set[int]) -> set[int]:
    deadline = time.monotonic() + 5
    while (left := children() - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    reap(before)
    return left


def reap(before: set[int]) -> None:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid() and fields[0] == "Z" and int(stat.parent.name) not in before:
                os.waitpid(int(stat.parent.name), os.WNOHANG)


def descriptors() -> set[str]:
    return {link.name for link in Path("/proc/self/fd").iterdir()}


def caller() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CALLER, str(REPOSITORY)], stdout=subprocess.PIPE, text=True
    )


def test_a_killed_caller_takes_its_job_along(orphans: None) -> None:
    before = children()
    with caller() as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        job = int(process.stdout.readline())
        time.sleep(0.2)
        process.kill()
    assert wait_for_none(before) == set()
    assert not Path(f"/proc/{job}").exists()


def test_a_caller_killed_at_any_moment_leaves_nothing(orphans: None) -> None:
    before = children()
    for _ in range(15):
        with caller() as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(random.uniform(0, 0.06))
            process.kill()
    assert wait_for_none(before) == set()


def test_a_killed_bubblewrap_is_a_lost_job() -> None:
    def kill_bubblewrap(pid: int) -> None:
        init = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(int(Path(f"/proc/{init}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)

    outcome = sandbox.run(Job(source="import time; time.sleep(30)"), on_start=kill_bubblewrap)
    assert (outcome.ended, outcome.status) == ("lost", None)
    assert outcome.usage.wall_seconds < 5


def test_a_finished_job_leaves_no_process_and_no_descriptor() -> None:
    pids: list[int] = []
    source = (
        "import os, time\nif not os.fork():\n  os.setsid()\n  if not os.fork(): time.sleep(30)\n  os._exit(0)"
    )
    sandbox.run(Job(source=source))
    before = descriptors()
    for _ in range(5):
        sandbox.run(Job(source=source, files={"x": b"1"}, stdin=b"2"), on_start=pids.append)
    assert descriptors() == before
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_refused_jobs_leave_no_descriptor() -> None:
    sandbox.status()
    before = descriptors()
    for _ in range(5):
        with pytest.raises(OSError, match="No such file"):
            sandbox.run(Job(source="pass", files={"x": Path("/no/such/file")}))
    assert descriptors() == before


def test_no_cgroup_is_left() -> None:
    place = delegated()
    seen: list[str] = []
    sandbox.run(Job(source="pass"), on_start=lambda pid: seen.append(cgroup_of(pid)))
    assert seen[0].startswith("agentsec-job-")
    assert seen[0] not in cgroups(place)


def test_cgroups_of_dead_callers_are_swept(orphans: None) -> None:
    place = delegated()
    before = children()
    with caller() as process:
        assert process.stdout is not None
        process.stdout.readline()
        theirs = cgroup_of(int(process.stdout.readline()))
        cgroup.sweep(place)
        assert theirs in cgroups(place)
        process.kill()
    wait_for_none(before)
    deadline = time.monotonic() + 5
    while theirs in cgroups(place) and time.monotonic() < deadline:
        cgroup.sweep(place)
    assert theirs not in cgroups(place)


def test_a_sweep_leaves_a_cgroup_that_is_not_in_use_yet() -> None:
    place = delegated()
    others = cgroups(place)
    with contextlib.closing(cgroup.Cgroup(place, Limits())):
        cgroup.sweep(place)
        assert cgroups(place) - others


def test_a_cgroup_that_a_sweep_took_is_made_again() -> None:
    place = delegated()
    over = threading.Event()

    def sweep() -> None:
        while not over.is_set():
            cgroup.sweep(place)

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        for _ in range(100):
            cgroup.Cgroup(place, Limits()).close()
    finally:
        over.set()
        sweeper.join()


def delegated() -> cgroup.Place:
    try:
        return cgroup.find()
    except sandbox.SandboxUnavailable as error:
        pytest.skip(str(error))


def cgroups(place: cgroup.Place) -> set[str]:
    return {left.name for folder in place.distinct() for left in folder.glob("agentsec-job-*")}


def cgroup_of(pid: int) -> str:
    """By its name alone."""
    found = re.search(r"/(agentsec-[^/\n]*)", Path(f"/proc/{pid}/cgroup").read_text())
    return found[1] if found else ""


def test_many_jobs_at_once_do_not_mix() -> None:
    def one(number: int) -> tuple[str, bytes]:
        source = f"open('n', 'w').write(open('/in/n').read()); print({number})"
        outcome = sandbox.run(Job(source=source, files={"n": str(number).encode()}, limits=Limits(pids=4)))
        return outcome.stdout, outcome.artifacts[0].content

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(one, range(40)))
    assert results == [(f"{number}\n", str(number).encode()) for number in range(40)]


def as_normal_user(program: str) -> str:
    """What a program prints that has the sandbox, and no privileges."""
    folder = Path(tempfile.mkdtemp(prefix="sandbox-test-"))
    try:
        folder.chmod(0o755)
        (folder / "approvals").mkdir(mode=0o755)
        shutil.copytree(REPOSITORY / "approvals/sandbox", folder / "approvals/sandbox")
        argv = ["/usr/bin/python3", "-B", "-c", program, str(folder)]
        if os.geteuid() == 0:
            argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *argv]
        done = subprocess.run(argv, capture_output=True, text=True, cwd="/", timeout=60)
        assert done.stderr == ""
        return done.stdout
    finally:
        shutil.rmtree(folder)


def test_it_works_as_a_normal_user() -> None:
    assert as_normal_user(AS_NORMAL_USER) == '[0, "1\\n", "in", "memory"]\n'


def test_a_job_that_cannot_be_read_cannot_hide_that_it_asked() -> None:
    assert as_normal_user(UNREADABLE) == "('/tmp/cat /etc/shadow',) ['read']\n"
