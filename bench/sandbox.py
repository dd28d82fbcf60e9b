"""What the sandbox costs, each as a ratio to `python3 -I -c pass` measured in the same run.

    manage.py bench sandbox [ROUNDS] [cgroup|poller]        (default: 60 rounds, the tier in use)

Contenders take turns in every round, so that a busy neighbour meets all of them. Rounds are cut into blocks;
a contender's figure is the least of its blocks' medians, since whatever else ran can only have added to it;
p50 and p99 are of all rounds.

    plain        the interpreter that jobs run under, outside, doing nothing
    bwrap …      installed peers running the same, with the flags that their manuals suggest
    cold         a job as a worker without a pool runs it: input, output, an artifact, what it did
    warm, byte   the same job in a sandbox that stood: from the call to the first byte it printed
    warm, down   the same: from the call until nothing of it is left
    none stood   the next job of that worker at once: from the call until nothing of it is left

Then: memory (PSS of all its processes while its job waits, over that of a plain interpreter waiting as well;
see Memory), jobs per second with two callers a processor, cold starts from a worker that
holds 1 GiB against one that holds none, and a request through the egress proxy against a direct one.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import django

from approvals import sandbox
from approvals.sandbox.backend import TIER_VARIABLE
from bench import sandbox_rest
from bench.sandbox_rest import JOB, done, standing

BLOCKS = 6
COLD, BYTE, DOWN, MEMORY, THROUGHPUT, FAT = 1.8, 0.12, 0.45, 1.5, 0.6, 1.1


@dataclass
class Times:
    """Seconds of one contender, in the order they were taken."""

    taken: list[float] = field(default_factory=list)

    def best(self) -> float:
        """The least of the blocks' medians."""
        length = max(1, len(self.taken) // BLOCKS)
        blocks = [self.taken[start : start + length] for start in range(0, len(self.taken), length)]
        return min(median(block) for block in blocks if len(block) == length)

    def part(self, share: float) -> float:
        return sorted(self.taken)[min(len(self.taken) - 1, int(share * len(self.taken)))]


def main(words: Sequence[str]) -> None:
    rounds = next((int(word) for word in words if word.isdigit()), 60)
    if tiers := [word for word in words if word in ("cgroup", "poller")]:
        os.environ[TIER_VARIABLE] = tiers[0]
    if len(words) > 2 or any(not word.isdigit() and word not in tiers for word in words):
        raise SystemExit("usage: manage.py bench sandbox [ROUNDS] [cgroup|poller]")
    status = sandbox.status()
    if not status.available:
        raise SystemExit(f"the sandbox refuses: {status.reason}")
    print(f"{status.tier}, {status.interpreter}; {rounds} rounds in {BLOCKS} blocks")
    tell_load("at the start")
    times = contend(rounds, status.interpreter.split(" ")[0])
    show(times)
    plain = times["plain"].best()
    judge("cold, with artifact and log", times["cold"].best() / plain, COLD)
    judge("warm to the first byte", times["warm, byte"].best() / plain, BYTE)
    judge("warm to torn down", times["warm, down"].best() / plain, DOWN)
    print(f"{'a worker with a pool, none stood':<52} {times['none stood'].best() / plain:7.3f}")
    python = status.interpreter.split(" ")[0]
    memory = sandbox_rest.memory(python)
    judge("memory over plain, each of a worker's sandboxes", memory.more / 2**20, MEMORY, unit=" MiB")
    judge("memory over plain, one with its own bubblewrap", memory.alone / 2**20, MEMORY, unit=" MiB")
    print(f"{'memory of a sandbox standing idle':<52} {memory.idle / 2**20:7.3f} MiB")
    print(f"{'memory of what they come from, once a worker':<52} {memory.zygote / 2**20:7.3f} MiB")
    bare, cold, warm = sandbox_rest.throughput(python)
    print(f"{'jobs a second: plain, cold, with a pool':<52} {bare:7.1f} {cold:7.1f} {warm:7.1f}")
    judge("throughput with a pool, over plain", warm / bare, THROUGHPUT, least=True)
    judge("from a worker holding 1 GiB, over one holding none", sandbox_rest.held(max(30, rounds)), FAT)
    proxied()
    tell_load("at the end")


def judge(what: str, measured: float, goal: float, *, least: bool = False, unit: str = "") -> None:
    met = measured >= goal if least else measured <= goal
    bound = "≥" if least else "≤"
    print(f"{what:<52} {measured:7.3f}{unit}  goal {bound} {goal}{unit}  {'met' if met else 'MISSED'}")


def tell_load(when: str) -> None:
    load, processors = os.getloadavg()[0], os.cpu_count() or 1
    busy = "; other work was running, which the ratios do not escape" if load > processors / 2 else ""
    print(f"load {load:.1f} on {processors} processors {when}{busy}")


def show(times: dict[str, Times]) -> None:
    plain = times["plain"].best()
    print(f"\n{'milliseconds':<16} {'best':>8} {'ratio':>7} {'p50':>8} {'p99':>8}")
    for name, each in times.items():
        figures = [value * 1000 for value in (each.best(), each.part(0.5), each.part(0.99))]
        print(f"{name:<16} {figures[0]:8.2f} {each.best() / plain:7.3f} {figures[1]:8.2f} {figures[2]:8.2f}")
    print()


def contend(rounds: int, python: str) -> dict[str, Times]:
    commands = {"plain": [python, "-I", "-c", "pass"]} | peers([python, "-I", "-c", "pass"])
    times = {name: Times() for name in (*commands, "cold", "warm, byte", "warm, down", "none stood")}
    for _ in range(rounds):
        for name, command in commands.items():
            times[name].taken.append(timed(lambda command=command: plainly(command)))
        times["cold"].taken.append(timed(lambda: done(JOB)))
        with standing(1):
            byte, down = warmly()
            times["warm, byte"].taken.append(byte)
            times["warm, down"].taken.append(down)
            times["none stood"].taken.append(timed(lambda: done(JOB)))
    return times


def warmly() -> tuple[float, float]:
    first: list[float] = []
    began = time.perf_counter()
    done(JOB, on_output=lambda stream, text: first.append(time.perf_counter()))
    return first[0] - began, time.perf_counter() - began


def timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def plainly(command: list[str]) -> None:
    subprocess.run(command, env={}, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=True)


def peers(command: list[str]) -> dict[str, list[str]]:
    """Installed sandboxes, each as its manual runs a command without network; not those that fail."""
    binds = [word for name in ("lib", "lib64", "bin") for word in link(name)]
    known = {
        "bwrap": ["--unshare-all", "--die-with-parent", "--new-session", "--ro-bind", "/usr", "/usr", *binds,
                  "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"],
        "firejail": ["--quiet", "--noprofile", "--net=none", "--private", "--seccomp", "--caps.drop=all"],
        "nsjail": ["-Q", "-Mo", "--chroot", "/", "--user", "65534", "--group", "65534", "--"],
    }  # fmt: skip
    found = {}
    for name, options in known.items():
        if shutil.which(name) is None:
            print(f"{name} is not installed")
            continue
        found[name] = [name, *options, *command]
        try:
            plainly([shutil.which(name) or name, *options, *command])
        except subprocess.CalledProcessError as error:
            print(f"{name} does not run here: {error.stderr.decode(errors='replace').strip()[:100]}")
            del found[name]
    return found


def link(name: str) -> list[str]:
    path = Path("/", name)
    if path.is_symlink():
        return ["--symlink", str(path.readlink()), str(path)]
    return ["--ro-bind", str(path), str(path)] if path.is_dir() else []


def proxied() -> None:
    """A request through the egress proxy against a direct one, measured by that package itself."""
    django.setup()
    # Loaded by name: the way out knows models, which need the apps.
    direct, through = importlib.import_module("approvals.egress.bench").seconds()
    what, more = "a proxied request, over a direct one", (through - direct) * 1000
    print(f"{what:<52} {through / direct:7.3f}  (+{more:.2f} ms on {direct * 1000:.2f} ms)")
