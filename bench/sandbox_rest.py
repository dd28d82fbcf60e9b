"""The sandbox's memory, its throughput, and what a worker's own size does to a start; see sandbox.py."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from approvals import sandbox
from approvals.sandbox import Job, Pool

JOB = Job(source="print(1); open('artifact', 'w').write('1')", files={"args.json": b"{}"})
SLEEPER = Job(source="import time; print(1, flush=True); time.sleep(30)")
WAITING = "import sys; print(1, flush=True); sys.stdin.read()"
HELD_BYTES = 1 << 30
CALLERS = 2 * (os.cpu_count() or 1)
TRIES, BUSY_SECONDS = 5, 3.0
PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


@contextmanager
def standing(number: int) -> Iterator[Pool]:
    """A pool that is full, and busy with nothing."""
    with sandbox.warm(number) as pool:
        if pool is None or not pool.wait_until_full(seconds=60):
            raise SystemExit("no sandbox came to stand within a minute")
        yield pool


def done(job: Job, on_output: Callable[[str, str], None] | None = None) -> None:
    outcome = sandbox.run(job, on_output=on_output)
    if outcome.status != 0 or len(outcome.artifacts) != 1:
        raise SystemExit(f"the job failed: {outcome}")


def memory(python: str) -> tuple[int, int]:
    """Bytes of PSS: all processes of a sandbox with a waiting job, less a plain interpreter that waits; and a
    sandbox standing idle. Another interpreter runs meanwhile, so that all share the files of its program
    with somebody. The least of several, since what is shared depends on who else runs.
    """
    over, idle = [], []
    for _ in range(TRIES):
        with plain(python):
            with plain(python) as process:
                bare = pss([process.pid])
            with standing(1) as pool:
                idle.append(pss(family(pool.pids()[0])))
            over.append(busy_pss() - bare)
    return min(over), min(idle)


@contextmanager
def plain(python: str) -> Iterator[subprocess.Popen[bytes]]:
    argv = [python, "-I", "-c", WAITING]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={}) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def busy_pss() -> int:
    seen: list[int] = []
    pids: list[int] = []
    stop = threading.Event()

    def look(stream: str, text: str) -> None:
        seen.append(pss(family(pids[0])))
        stop.set()

    sandbox.run(SLEEPER, on_start=pids.append, on_output=look, stop=stop)
    return seen[0]


def family(job: int) -> list[int]:
    """The job's process, the init above it, and bubblewrap above that."""
    init = parent(job)
    return [job, init, parent(init)]


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def pss(pids: list[int]) -> int:
    found = [PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_text()) for pid in pids]
    return sum(int(each[1]) * 1024 for each in found if each is not None)


def throughput(python: str) -> tuple[float, float, float]:
    """Runs a second with two callers a processor: plain, cold, with a pool. Best of rounds in turn."""
    argv = [python, "-I", "-c", "pass"]
    bare, cold, warm = [], [], []
    for _ in range(3):
        bare.append(rate(lambda: subprocess.run(argv, env={}, capture_output=True, check=True)))
        cold.append(rate(lambda: done(JOB)))
        with standing(CALLERS):
            warm.append(rate(lambda: done(JOB)))
    return max(bare), max(cold), max(warm)


def rate(act: Callable[[], object]) -> float:
    began = time.perf_counter()

    def work() -> int:
        count = 0
        while time.perf_counter() < began + BUSY_SECONDS:
            act()
            count += 1
        return count

    with ThreadPoolExecutor(CALLERS) as threads:
        total = sum(each.result() for each in [threads.submit(work) for _ in range(CALLERS)])
    return total / (time.perf_counter() - began)


def held(rounds: int) -> float:
    """Cold runs while this process holds a gibibyte that it has written to, over those while it does not."""
    slim, fat = [], []
    for _ in range(6):
        slim.append(block(rounds // 6))
        ballast = bytearray(b"\1") * HELD_BYTES
        fat.append(block(rounds // 6))
        del ballast
    return min(fat) / min(slim)


def block(rounds: int) -> float:
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        done(JOB)
        taken.append(time.perf_counter() - began)
    return median(taken)
