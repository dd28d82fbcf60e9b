"""Sandboxes that stand before their job comes: quick, used once, gone with their worker, never stale."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from approvals import sandbox
from approvals.sandbox import Job, Limits, MiB, Outcome, SandboxUnavailable, pool
from approvals.sandbox.backend import TIER_VARIABLE
from approvals.sandbox.pool import Pool

REPOSITORY = Path(__file__).resolve().parents[3]
WORKER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from approvals import sandbox
with sandbox.warm(2) as pool:
    print(pool.wait_until_full(seconds=30), flush=True)
    time.sleep(99)
"""


@pytest.fixture(params=["cgroup", "poller"])
def warm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    monkeypatch.setenv(TIER_VARIABLE, request.param)
    if not sandbox.status().available:
        pytest.skip(sandbox.status().reason)
    with sandbox.warm(1) as kept:
        assert kept is not None
        yield kept


def run(kept: Pool, **job: object) -> tuple[Outcome, int]:
    """The outcome of a job in a sandbox that stood before, and the process that it was."""
    assert kept.wait_until_full(seconds=30)
    stood = kept.pids()[0]
    started: list[int] = []
    outcome = sandbox.run(Job(**job), on_start=started.append)  # type: ignore[arg-type]
    assert started == [stood]
    return outcome, stood


def test_a_warm_job_is_like_any_other(warm: Pool, tmp_path: Path) -> None:
    (tmp_path / "private").write_text("file")
    source = """
import os, sys
print(sys.stdin.read(), open('/in/a/b').read(), open('/in/c').read())
print(os.getcwd(), sys.argv, __name__, __file__)
open('sum', 'w').write('6'); print(sorted(os.environ)); sys.exit(3)
"""
    files = {"a/b": b"bytes", "c": tmp_path / "private"}
    outcome, pid = run(warm, source=source, files=files, stdin=b"typed")
    said = "typed bytes file\n/out ['/run/job.py'] __main__ /run/job.py\n"
    assert outcome.stdout == said + "['HOME', 'LANG', 'PATH', 'PYTHONDONTWRITEBYTECODE', 'TMPDIR']\n"
    assert (outcome.status, outcome.artifacts[0].content) == (3, b"6")
    assert not Path(f"/proc/{pid}").exists()


def test_a_warm_command_takes_its_words_and_input(warm: Pool) -> None:
    outcome, _ = run(warm, argv=("/bin/sh", "-c", 'cat; printf "%s|" "$@"', "sh", "", "ü"), stdin=b"in")
    assert (outcome.stdout, outcome.ended) == ("in|ü|", "exited")


def test_input_that_came_late_cannot_be_changed(warm: Pool) -> None:
    source = """
import os, sys
for attempt in (lambda: open('/in/data', 'w'), lambda: os.chmod('/in/data', 0o777),
                lambda: os.unlink('/in/data'), lambda: open('/in/new', 'w'), lambda: open('/run/job.py', 'a'),
                lambda: os.mkdir('/etc/x'),
                lambda: open('/proc/self/oom_score_adj', 'w').write('0'), lambda: open('/dev/new', 'w'),
                lambda: open('/proc/sys/user/max_user_namespaces', 'w').write('9')):
    try: attempt()
    except OSError: continue
    sys.exit('changed')
print(open('/proc/sys/user/max_user_namespaces').read().strip())
"""
    outcome, _ = run(warm, source=source, files={"data": b"input"})
    assert (outcome.stderr, outcome.stdout) == ("", "0\n")


def test_a_warm_job_has_the_limits_of_its_own(warm: Pool) -> None:
    greedy = "held = bytearray(90 << 20)\nimport time; time.sleep(9)"
    assert run(warm, source=greedy, limits=Limits(memory_bytes=48 * MiB))[0].ended == "memory"
    forks = "import os, time\nfor n in range(99):\n  if not os.fork(): time.sleep(9)"
    assert run(warm, source=forks, limits=Limits(pids=8))[0].ended == "pids"
    writes = "for n in range(9): open(f'/tmp/{n}', 'wb').write(bytes(1 << 20))"
    assert run(warm, source=writes, limits=Limits(disk_bytes=4 * MiB))[0].ended == "disk"
    much = "held = bytearray(400 << 20); open('/out/x', 'wb').write(bytes(80 << 20)); print(len(held) >> 20)"
    roomy = Limits(memory_bytes=600 * MiB, disk_bytes=100 * MiB, artifact_bytes=1)
    assert run(warm, source=much, limits=roomy)[0].stdout == "400\n"


def test_a_job_in_waiting_has_no_privileges_and_no_link(warm: Pool) -> None:
    source = """
import os, sys
def status(pid):
    lines = open(f'/proc/{pid}/status').read().splitlines()
    return dict(line.split(':\\t', 1) for line in lines if ':' in line)
for pid in ('self', 1): print({status(pid)[f'Cap{kind}'] for kind in ('Inh', 'Prm', 'Eff', 'Bnd', 'Amb')})
print(status('self')['NoNewPrivs'], status('self')['Seccomp'])
print(sorted(os.listdir('/proc/self/fd')), len(os.listdir('/proc/self/task')), os.getsid(0) == os.getpid())
frame, names = sys._getframe(), set()
while frame: names |= set(frame.f_locals); frame = frame.f_back
print(names & {'link', 'init', 'rules', 'config', 'stdin'})
"""
    outcome, _ = run(warm, source=source)
    none = "{'0000000000000000'}"
    assert outcome.stdout == f"{none}\n{none}\n1 2\n['0', '1', '2', '3'] 1 True\nset()\n"


def test_no_sandbox_is_used_twice(warm: Pool) -> None:
    source = "import os; print(os.listdir('/tmp'), os.listdir('/in')); open('/tmp/left', 'w')"
    first, one = run(warm, source=source, files={"a": b""})
    second, other = run(warm, source=source)
    assert (first.stdout, second.stdout, one != other) == ("[] ['a']\n", "[] []\n", True)


def test_a_job_that_finds_none_starts_one(warm: Pool) -> None:
    with ThreadPoolExecutor(3) as threads:
        jobs = [Job(source=f"print({number})") for number in range(6)]
        assert [outcome.stdout for outcome in threads.map(sandbox.run, jobs)] == [f"{n}\n" for n in range(6)]


@pytest.fixture
def kept() -> Iterator[Pool]:
    with sandbox.warm(1) as warm:
        assert warm is not None
        assert warm.wait_until_full(seconds=30)
        yield warm


def test_one_that_died_waiting_is_not_used(kept: Pool) -> None:
    dead = kept.pids()[0]
    os.kill(dead, signal.SIGKILL)
    assert gone_within(10, [dead])
    started: list[int] = []
    assert sandbox.run(Job(source="print(1)"), on_start=started.append).stdout == "1\n"
    assert started != [dead]


def test_one_that_takes_no_input_runs_nothing() -> None:
    started: list[int] = []
    with sandbox.warm(1) as kept:
        assert kept is not None
        assert kept.wait_until_full(seconds=30)
        standing = kept._standing[0].box
        standing.launched.link.settimeout(0.05)
        init = int(Path(f"/proc/{standing.pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(init, signal.SIGSTOP)
        files = {str(number): bytes(30_000) for number in range(60)}
        with pytest.raises(SandboxUnavailable, match="its init does not answer"):
            sandbox.run(Job(source="print(1)", files=files), on_start=started.append)
        assert gone_within(10, [standing.pid, init])
    assert started == []


def test_one_that_is_too_old_is_not_used(kept: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    old = kept.pids()[0]
    monkeypatch.setattr(pool, "MAX_AGE_SECONDS", 0.0)
    started: list[int] = []
    assert sandbox.run(Job(source="print(1)"), on_start=started.append).stdout == "1\n"
    assert started != [old]


def test_one_of_another_tier_is_not_used(kept: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    other = "poller" if kept._standing[0].meter.tier == "bwrap+cgroup" else "cgroup"
    monkeypatch.setenv(TIER_VARIABLE, other)
    if not sandbox.status().available:
        pytest.skip(sandbox.status().reason)
    assert sandbox.run(Job(source="print(1)")).tier == f"bwrap+{other}"


def test_one_made_by_another_bubblewrap_is_not_used(
    kept: Pool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = kept.pids()[0]
    tmp_path.chmod(0o755)
    program = subprocess.check_output(["which", "bwrap"], text=True).strip()
    (tmp_path / "bwrap").write_text(f'#!/bin/sh\nexec {program} "$@"\n')
    (tmp_path / "bwrap").chmod(0o755)
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o011)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    started: list[int] = []
    assert sandbox.run(Job(source="print(1)"), on_start=started.append).stdout == "1\n"
    assert started != [old]


def test_a_running_warm_job_outlives_the_end_of_its_pool() -> None:
    seen: list[Outcome] = []
    begun = threading.Event()
    job = Job(source="import time; time.sleep(0.3); print(1)")
    with sandbox.warm(1) as kept:
        assert kept is not None
        assert kept.wait_until_full(seconds=30)
        thread = threading.Thread(
            target=lambda: seen.append(sandbox.run(job, on_start=lambda pid: begun.set()))
        )
        thread.start()
        assert begun.wait(10)
    thread.join()
    assert [(outcome.ended, outcome.stdout) for outcome in seen] == [("exited", "1\n")]


def test_a_killed_worker_takes_its_pool_along() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(REPOSITORY)], stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "True\n"
        below = descendants(worker.pid)
        worker.kill()
    assert len(below) == 6
    assert gone_within(10, below)


def descendants(parent: int) -> list[int]:
    parents = {
        int(path.parent.name): int(path.read_text().rpartition(")")[2].split()[1])
        for path in Path("/proc").glob("[0-9]*/stat")
    }
    found = [pid for pid, above in parents.items() if above == parent]
    return found + [below for pid in found for below in descendants(pid)]


def gone_within(seconds: float, pids: list[int]) -> bool:
    deadline = time.monotonic() + seconds
    while any(living(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(living(pid) for pid in pids)


def living(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_pool_of_none_keeps_nothing() -> None:
    with sandbox.warm(0) as kept:
        assert kept is None
