"""The sandbox's memory, its throughput, and what a worker's own size does to a start; see sandbox.py."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import astuple, dataclass
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


@dataclass(frozen=True)
class Memory:
    """Bytes of PSS. ``more``: what one more sandbox with a waiting job takes on the whole, over a plain
    interpreter that waits; ``alone``: the same of one that has a bubblewrap of its own. ``idle``: what one
    more takes that stands idle; ``zygote``: what they come from, once a worker, beside one that stands.
    """

    more: int
    alone: int
    idle: int
    zygote: int


def memory(python: str) -> Memory:
    """Another interpreter runs meanwhile, so that all share the files of its program with somebody. The least
    of several, since what is shared depends on who else runs.
    """
    found = []
    for _ in range(TRIES):
        with plain(python):
            with plain(python) as process:
                bare = pss([process.pid])
            alone, one, three = busy_pss(1, kept=False), busy_pss(1), busy_pss(3)
            first, third = idle_pss(1), idle_pss(3)
        each = (third - first) // 2
        found.append(Memory((three - one) // 2 - bare, alone - bare, each, first - each))
    return Memory(*(min(column) for column in zip(*map(astuple, found), strict=True)))


def idle_pss(number: int) -> int:
    with standing(number) as pool:
        return family_pss(pool.pids())


@contextmanager
def plain(python: str) -> Iterator[subprocess.Popen[bytes]]:
    argv = [python, "-I", "-c", WAITING]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={}) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def busy_pss(number: int, *, kept: bool = True) -> int:
    """Of so many sandboxes with a waiting job, and of what they come from."""
    pids: list[int] = []
    said, stop = threading.Semaphore(0), threading.Event()

    def wait() -> None:
        sandbox.run(SLEEPER, on_start=pids.append, on_output=lambda stream, text: said.release(), stop=stop)

    with standing(1) if kept else nullcontext() as pool, ThreadPoolExecutor(number) as threads:
        for _ in range(number):
            threads.submit(wait)
            said.acquire(timeout=30)
        if pool is not None:
            pool.wait_until_full(seconds=30)
        found = family_pss([*pids, *(pool.pids() if pool is not None else [])])
        stop.set()
    return found


def family_pss(jobs: list[int]) -> int:
    """The jobs' processes and all above them up to this one: inits, zygote, bubblewrap."""
    found: set[int] = set()
    for pid in jobs:
        while pid != os.getpid():
            found.add(pid)
            pid = parent(pid)
    return pss(sorted(found))


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
