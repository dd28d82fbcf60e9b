"""Watch one sandboxed job from outside: speak with its init, drain its output, hold it to its limits."""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import signal
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from approvals.sandbox.artifacts import Collection
from approvals.sandbox.box import END_SECONDS, START_SECONDS, Box, Message
from approvals.sandbox.escape import Stream
from approvals.sandbox.job import WAY_OUT_PORT, Ending, Job, Outcome, SandboxUnavailable, Usage, Watched
from approvals.sandbox.meter import Meter, Reading
from approvals.sandbox.parcel import Parcel
from approvals.sandbox.watching import OUT_OF_REACH, Watcher

_OPEN_FILES = OUT_OF_REACH
# Signals and timers that wait at once: kernel memory, of which hosts allow a hundred thousand.
_SIGNALS = 1024
# A stream is kept up to its limit and drained past it; who writes this many times as much is stopped.
_FLOOD = 16
_END = struct.Struct("=iiqq")


@dataclass(frozen=True)
class Hooks:
    """What the caller wants to be told, and how it can stop the job."""

    on_output: Callable[[str, str], None] | None = None
    stop: threading.Event | None = None
    on_start: Callable[[int], None] | None = None
    on_watched: Callable[[Watched], None] | None = None
    on_network: Callable[[int], None] | None = None


@dataclass(frozen=True)
class End:
    """What the init reported: the job's wait status, processes it left, CPU seconds, peak bytes of one."""

    wait_status: int
    left: int
    cpu_seconds: float
    peak_bytes: int


class Supervisor:
    """Runs one job in a box that is ready, to its end. Used once; the box is the caller's to close."""

    def __init__(self, box: Box, *, job: Job, argv: tuple[str, ...], meter: Meter, hooks: Hooks) -> None:
        self._box = box
        self._job = job
        self._argv = argv
        self._meter = meter
        self._hooks = hooks
        self._collection = Collection(job.limits)
        self._watcher = Watcher(box.listener, libraries=box.libraries, tell=hooks.on_watched)
        self._streams = {name: self._stream(name) for name in ("stdout", "stderr")}
        self._selector = selectors.DefaultSelector()
        self._reading: Reading | None = None
        self._due = 0.0
        self._inodes = 0
        self._full = False
        self._cause: Ending | None = None
        self._end: End | None = None
        self._started: float | None = None
        self._begun = False
        self._wall = 0.0
        self._done = False
        self._deadline = math.inf

    def run(self, parcel: Parcel, *, interpreter: str) -> Outcome:
        """Give the job its input and drive it to its end.

        Raises SandboxUnavailable when the sandbox could not prepare what the job needs.
        """
        try:
            self._register()
            self._watcher.begin(self._selector)
            self._deliver(parcel)
            self._begin()
            while self._selector.get_map() and not self._done:
                for key, _ in self._selector.select(self._pause()):
                    key.data()
                self._enforce()
                if time.monotonic() > self._deadline:
                    break
            if self._done:
                self._drain_all()
            self._require_begun()
            return self._outcome(interpreter)
        finally:
            self._selector.close()

    def _stream(self, name: str) -> Stream:
        return Stream(cap=int(self._job.limits.output_bytes), emit=lambda text: self._emit(name, text))

    def _emit(self, name: str, text: str) -> None:
        # Before the job runs, what arrives is the sandbox's own complaint.
        if self._hooks.on_output is not None and self._started is not None:
            self._hooks.on_output(name, text)

    def _register(self) -> None:
        for name, number in self._pipes().items():
            os.set_blocking(number, False)
            self._selector.register(number, selectors.EVENT_READ, partial(self._drain, name, number))
        self._selector.register(self._box.launched.link, selectors.EVENT_READ, self._receive)

    def _pipes(self) -> dict[str, int]:
        return {"stdout": self._box.launched.stdout, "stderr": self._box.launched.stderr}

    def _drain(self, name: str, number: int) -> bool:
        """Take what is there; False when there is nothing (more)."""
        try:
            data = os.read(number, 1 << 16)
        except BlockingIOError:
            return False
        if data:
            self._streams[name].feed(data)
        elif number in self._selector.get_map():
            self._selector.unregister(number)
        return bool(data)

    def _drain_all(self) -> None:
        """What the job left in its pipes. Once the init has ended all of the job nobody adds to it."""
        for name, number in self._pipes().items():
            while self._drain(name, number):
                pass

    def _deliver(self, parcel: Parcel) -> None:
        for message, descriptors in parcel.files:
            self._box.send(message, descriptors)
        self._box.send(self._configuration(), [parcel.stdin])

    def _begin(self) -> None:
        if self._hooks.on_start is not None:
            self._hooks.on_start(self._box.pid)
        self._started = time.monotonic()
        self._deadline, self._due = self._started + START_SECONDS, self._started + self._meter.interval
        self._box.send(b"G")

    def _configuration(self) -> bytes:
        limits = self._job.limits
        cpu, disk = math.ceil(limits.cpu_seconds), int(limits.disk_bytes)
        bounds = {
            "RLIMIT_CORE": (0, 0),
            "RLIMIT_CPU": (cpu + 1, cpu + 2),
            "RLIMIT_FSIZE": (disk, disk),
            "RLIMIT_NOFILE": (_OPEN_FILES, _OPEN_FILES),
            "RLIMIT_MEMLOCK": (1 << 16, 1 << 16),
            "RLIMIT_MSGQUEUE": (0, 0),
            "RLIMIT_SIGPENDING": (_SIGNALS, _SIGNALS),
            "FOLDER": (disk, int(limits.inodes)),
            **self._meter.rlimits(),
            **({"WAY_OUT": (WAY_OUT_PORT, 0)} if self._job.egress else {}),
        }
        lines = [f"{name}:{soft}:{hard}" for name, (soft, hard) in bounds.items()]
        environment = [f"{name}={value}" for name, value in self._job.environment.items()]
        groups = ["\0".join(group) for group in (lines, environment, self._argv)]
        return b"C" + "\0\0".join(groups).encode()

    def _pause(self) -> float:
        now = time.monotonic()
        running = self._started is not None and self._end is None and self._cause is None
        return max(0.0, min(self._due - now if running else 0.05, self._deadline - now))

    def _receive(self) -> None:
        with contextlib.closing(self._box.receive()) as message:
            if message.kind:
                self._handle(message)
            else:
                self._selector.unregister(self._box.launched.link)

    def _handle(self, message: Message) -> None:
        if message.kind == b"B":
            self._begun, self._deadline = True, math.inf
        elif message.kind == b"L" and self._hooks.on_network is not None:
            self._hooks.on_network(os.dup(message.descriptors[0]))
        elif message.kind == b"E":
            self._finish(message.body)
        elif message.kind == b"A":
            self._collection.offer(name=message.body, descriptor=message.descriptors[0])
        elif message.kind == b"X":
            name, _, why = message.body.partition(b"\0")
            self._collection.refuse(name=name, why=why.decode())
        elif message.kind == b"D":
            self._done = True

    def _finish(self, body: bytes) -> None:
        status, left, micros, kibibytes = _END.unpack(body)
        self._look()
        self._watcher.end()
        self._end = End(status, left, micros / 1e6, kibibytes * 1024)
        self._wall = time.monotonic() - (self._started or time.monotonic())
        self._deadline = time.monotonic() + END_SECONDS

    def _look(self) -> None:
        if self._box.folders is not None:
            reading = self._meter.sample(self._box.folders)
            # What the job makes the worker do to watch it is on its account too.
            self._reading = replace(reading, cpu_seconds=reading.cpu_seconds + self._watcher.cpu_seconds)
            _, self._inodes, full = self._box.folders.used()
            self._full = self._full or full
        self._due = time.monotonic() + self._meter.interval

    def _enforce(self) -> None:
        if self._started is None or self._end is not None or self._cause is not None:
            return
        if time.monotonic() >= self._due:
            self._look()
        self._cause = self._broken_limit()
        if self._cause is not None:
            self._wall = time.monotonic() - self._started
            self._deadline = time.monotonic() + END_SECONDS
            # Both: the signal is immediate, and the init ends what the signal does not reach.
            self._box.kill_job()
            self._box.send(b"K")

    def _broken_limit(self) -> Ending | None:
        limits, reading = self._job.limits, self._reading
        flood = _FLOOD * limits.output_bytes
        broken: dict[Ending, bool] = {
            "stopped": self._hooks.stop is not None and self._hooks.stop.is_set(),
            "memory": reading is not None and reading.over_memory,
            "cpu": reading is not None and reading.cpu_seconds >= limits.cpu_seconds,
            "pids": reading is not None and reading.over_pids,
            "disk": self._inodes > limits.inodes,
            "output": any(stream.total > flood for stream in self._streams.values()),
            "wall": time.monotonic() - (self._started or 0.0) >= limits.wall_seconds,
        }
        return next((cause for cause, hit in broken.items() if hit), None)

    def _require_begun(self) -> None:
        """An init that cannot go on says why. One that says nothing was killed, and the job with it."""
        said = " ".join(self._streams["stderr"].text.split())[-400:]
        if not self._begun and said:
            raise SandboxUnavailable(f"the sandbox cannot prepare this job: {said}")

    def _outcome(self, interpreter: str) -> Outcome:
        for stream in self._streams.values():
            stream.finish()
        status, number = _split(self._end)
        out, err = self._streams["stdout"], self._streams["stderr"]
        return Outcome(
            status=status,
            signal=number,
            ended=self._ended(status, number),
            stdout=out.text,
            stderr=err.text,
            stdout_truncated=out.truncated,
            stderr_truncated=err.truncated,
            artifacts=tuple(self._collection.taken),
            refused_artifacts=self._collection.summary(),
            usage=self._usage(),
            tier=self._meter.tier,
            interpreter=interpreter,
            watched=self._watcher.report(),
        )

    def _ended(self, status: int | None, number: int | None) -> Ending:
        if self._cause is not None:
            return self._cause
        if self._end is None or self._reading is None or not self._done:
            return "lost"
        if status == 0:
            return "memory" if self._reading.over_memory else "exited"
        return self._failure(number, self._end, self._reading)

    def _failure(self, number: int | None, end: End, reading: Reading) -> Ending:
        """The limit that explains a job that failed, else how it ended by itself."""
        limits = self._job.limits
        spent = max(end.cpu_seconds, reading.cpu_seconds) >= limits.cpu_seconds
        causes: dict[Ending, bool] = {
            "memory": reading.over_memory,
            "cpu": number == signal.SIGXCPU or (number == signal.SIGKILL and spent),
            "pids": reading.pids_refused or end.left + 1 >= limits.pids,
            "disk": self._full or number == signal.SIGXFSZ,
            "signalled": number is not None,
        }
        return next((cause for cause, hit in causes.items() if hit), "exited")

    def _usage(self) -> Usage:
        reading, end = self._reading, self._end
        cpu = max(reading.cpu_seconds if reading else 0.0, end.cpu_seconds if end else 0.0)
        peak = max(reading.peak_bytes if reading else 0, end.peak_bytes if end else 0)
        return Usage(wall_seconds=self._wall, cpu_seconds=cpu, max_rss_bytes=peak)


def _split(end: End | None) -> tuple[int | None, int | None]:
    """Exit status and signal of a wait status."""
    if end is None:
        return None, None
    if os.WIFSIGNALED(end.wait_status):
        return None, os.WTERMSIG(end.wait_status)
    return os.WEXITSTATUS(end.wait_status), None
