"""What happens to an instance: kill -9 of any of its processes, a frozen worker, a wiped Redis."""

from __future__ import annotations

import contextlib
import random
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from redis import Redis
from redis.exceptions import RedisError

from agentsec_site import embedded
from tests.live import Live

CHILDREN = ("web", "worker-1", "worker-2", "sequencer", "clock")
FROZEN_SECONDS = 12.0
PATIENCE = 15.0


@dataclass
class Killer:
    """Strikes until told to stop, every `pause` seconds on average, but not again before something went on,
    `every` steps of it on average: `progress` counts them. `struck` counts what it did, `blows` says when, in
    seconds since the epoch.
    """

    live: Live
    seed: int
    pause: float
    every: int
    progress: Callable[[], int]
    stop: threading.Event = field(default_factory=threading.Event)
    struck: Counter[str] = field(default_factory=Counter)
    blows: list[tuple[float, str]] = field(default_factory=list)
    frozen: list[tuple[float, psutil.Process]] = field(default_factory=list)
    shared: set[str] = field(default_factory=set)  # what PostgreSQL had of /dev/shm before each blow

    def work(self) -> None:
        chance = random.Random(self.seed)
        blows: dict[str, Callable[[], bool]] = {
            **{name: self._kills(name) for name in CHILDREN},
            "postgres": lambda: _kill(self.service("postgres")),
            "valkey": lambda: _kill(self.service("valkey-server", "redis-server")),
            "keeper": lambda: _kill(self.keeper()),
            "watchdog": lambda: _kill(self.watchdog(chance.choice(("worker-1", "worker-2")))),
            "redis wiped": self._wipe,
            "redis filled with garbage": self._garbage,
            "something of a job": lambda: self._strike_job(chance),
            "everything at once": self._everything,
            "worker frozen": lambda: self._freeze(chance.choice(("worker-1", "worker-2"))),
        }
        order: list[str] = []
        while not self.stop.wait(chance.uniform(0.3, 1.7) * self.pause):
            # Each in its turn, in ever another order, so that a short run strikes everything too.
            order = order or chance.sample(list(blows), len(blows))
            name = order.pop()
            self._wait(chance.randint(1, 2 * self.every - 1))
            with contextlib.suppress(psutil.Error, OSError, AssertionError):
                self._note_shared()
                if blows[name]():
                    self.blows.append((time.time(), name))
                    self.struck[name] += 1
            self.thaw()

    def _wait(self, steps: int) -> None:
        """Until so much more went on; who never comes back is struck again all the same."""
        until, begun = time.monotonic() + PATIENCE, self.progress()
        while self.progress() < begun + steps and time.monotonic() < until and not self.stop.wait(0.05):
            self.thaw()

    def thaw(self, *, now: bool = False) -> None:
        """Let those go on that were frozen for long enough; what had a job by then was killed meanwhile."""
        due = [item for item in self.frozen if now or item[0] <= time.monotonic()]
        self.frozen = [item for item in self.frozen if item not in due]
        for _, process in due:
            with contextlib.suppress(psutil.Error):
                process.resume()

    def service(self, *names: str) -> psutil.Process | None:
        """The first process of this instance's keeper with one of these names."""
        keeper = self.keeper()
        for process in keeper.children() if keeper else ():
            if process.name() in names:
                return process
        return None

    def _note_shared(self) -> None:
        if (process := self.service("postgres")) is not None:
            maps = Path(f"/proc/{process.pid}/maps").read_text()
            self.shared |= set(re.findall(r"/dev/shm/\S+", maps))

    def watchdog(self, worker: str) -> psutil.Process | None:
        """The process that holds a worker to its lease."""
        for process in self.live.child(worker).children():
            if any(word.endswith("/watchdog.py") for word in process.cmdline()):
                return process
        return None

    def keeper(self) -> psutil.Process | None:
        home = str(self.live.home)
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if "agentsec_site.keeper" in words and home in words:
                    return process
        return None

    def _kills(self, name: str) -> Callable[[], bool]:
        return lambda: _kill(self.live.child(name))

    def _strike_job(self, chance: random.Random) -> bool:
        """A process that a worker has started, of a sandbox that runs or that stands ready."""
        worker = self.live.child(chance.choice(("worker-1", "worker-2")))
        watchdog = self.watchdog(worker.environ()["AGENTSEC_PROCESS"].split()[-1])
        family = [process for process in worker.children(recursive=True) if process != watchdog]
        return bool(family) and _kill(chance.choice(family))

    def _everything(self) -> bool:
        """As when the power fails, but for the one process that starts them all again."""
        doomed = [self.keeper(), self.service("postgres"), self.service("valkey-server", "redis-server")]
        for name in CHILDREN:
            with contextlib.suppress(AssertionError):
                doomed.append(self.live.child(name))
        struck = False
        for process in doomed:
            with contextlib.suppress(psutil.Error):
                struck = _kill(process) or struck
        return struck

    def _freeze(self, name: str) -> bool:
        process = self.live.child(name)
        process.suspend()
        self.frozen.append((time.monotonic() + FROZEN_SECONDS, process))
        return True

    def _redis(self) -> Redis:
        return Redis.from_url(embedded.plan(self.live.home).redis_url, socket_timeout=2)

    def _wipe(self) -> bool:
        with contextlib.suppress(RedisError), self._redis() as redis:
            return bool(redis.flushall())
        return False

    def _garbage(self) -> bool:
        with contextlib.suppress(RedisError), self._redis() as redis:
            for key in redis.keys("rq:*"):
                redis.delete(key)
                redis.set(key, b"\x80garbage\xff")
            redis.delete("rq:queue:actions")
            redis.rpush("rq:queue:actions", b"no-such-job", b"\xff\x00", "../../etc/passwd")
            return True
        return False


def _kill(process: psutil.Process | None) -> bool:
    if process is None:
        return False
    process.send_signal(signal.SIGKILL)
    return True
