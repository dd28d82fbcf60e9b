"""Watch one sandboxed job from outside: speak with its init, drain its output, hold it to its limits."""

from __future__ import annotations

import array
import contextlib
import math
import os
import select
import selectors
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from approvals.sandbox.artifacts import Collection
from approvals.sandbox.bwrap import Launched
from approvals.sandbox.escape import Stream
from approvals.sandbox.job import Ending, Job, Outcome, SandboxUnavailable, Usage
from approvals.sandbox.meter import Folders, Meter, Reading

_START_SECONDS = 15.0
_END_SECONDS = 10.0
_OPEN_FILES = 512
# A stream is kept up to its limit and drained past it; who writes this many times as much is stopped.
_FLOOD = 16
_CREDENTIALS = struct.Struct("=iII")
_END = struct.Struct("=iiqq")


@dataclass(frozen=True)
class Hooks:
    """What the caller wants to be told, and how it can stop the job."""

    on_output: Callable[[str, str], None] | None = None
    stop: threading.Event | None = None
    on_start: Callable[[int], None] | None = None
    on_network: Callable[[int], None] | None = None


@dataclass(frozen=True)
class End:
    """What the init reported: the job's wait status, processes it left, CPU seconds, peak bytes of one."""

    wait_status: int
    left: int
    cpu_seconds: float
    peak_bytes: int


class Supervisor:
    """Runs one launched sandbox to its end. Used once."""

    def __init__(
        self, launched: Launched, *, job: Job, argv: tuple[str, ...], meter: Meter, hooks: Hooks
    ) -> None:
        self._launched = launched
        self._job = job
        self._argv = argv
        self._meter = meter
        self._hooks = hooks
        self._collection = Collection(job.limits)
        self._streams = {name: self._stream(name) for name in ("stdout", "stderr")}
        self._selector = selectors.DefaultSelector()
        self._folders: Folders | None = None
        self._reading: Reading | None = None
        self._init: int | None = None
        self._process: int | None = None
        self._due = 0.0
        self._inodes = 0
        self._full = False
        self._cause: Ending | None = None
        self._end: End | None = None
        self._version = ""
        self._started: float | None = None
        self._wall = 0.0
        self._done = False
        self._deadline = time.monotonic() + _START_SECONDS

    @property
    def version(self) -> str:
        return self._version

    def run(self, *, interpreter: str) -> Outcome:
        """Drive the job to its end. SandboxUnavailable when the sandbox itself did not come up."""
        self._register()
        self._send(self._configuration())
        try:
            while self._selector.get_map():
                for key, _ in self._selector.select(self._pause()):
                    key.data()
                self._enforce()
                if time.monotonic() > self._deadline:
                    break
            self._require_started()
            return self._outcome(interpreter)
        finally:
            self.close()

    def close(self) -> None:
        """Kill whatever is left, wait until it is gone, give everything back. May be called again."""
        self._end_namespace()
        self._launched.process.kill()
        self._launched.process.wait()
        for stream in (self._launched.process.stdout, self._launched.process.stderr):
            if stream is not None:
                stream.close()
        self._launched.link.close()
        self._selector.close()
        if self._folders is not None:
            self._folders.close()
            self._folders = None
        if self._process is not None:
            os.close(self._process)
            self._process = None

    def _end_namespace(self) -> None:
        """Kill the init. The kernel lets it end only after all else in its process namespace has ended."""
        if self._init is None:
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._init, signal.SIGKILL)
        gone = select.poll()
        gone.register(self._init, select.POLLIN)
        gone.poll(_END_SECONDS * 1000)
        os.close(self._init)
        self._init = None

    def _stream(self, name: str) -> Stream:
        return Stream(cap=int(self._job.limits.output_bytes), emit=lambda text: self._emit(name, text))

    def _emit(self, name: str, text: str) -> None:
        # Before the job runs, what arrives is bubblewrap's own complaint.
        if self._hooks.on_output is not None and self._started is not None:
            self._hooks.on_output(name, text)

    def _register(self) -> None:
        process = self._launched.process
        for name, pipe in (("stdout", process.stdout), ("stderr", process.stderr)):
            if pipe is not None:
                number = pipe.fileno()
                self._selector.register(number, selectors.EVENT_READ, self._drainer(name, number))
        self._selector.register(self._launched.link, selectors.EVENT_READ, self._receive)

    def _drainer(self, name: str, number: int) -> Callable[[], None]:
        def drain() -> None:
            data = os.read(number, 1 << 16)
            if data:
                self._streams[name].feed(data)
            else:
                self._selector.unregister(number)

        return drain

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
            **self._meter.rlimits(),
        }
        lines = [f"{name}:{soft}:{hard}" for name, (soft, hard) in bounds.items()]
        lines += [f"={name}={value}" for name, value in self._job.environment.items()]
        lines += ["@"] if self._job.egress else []
        return b"C" + "\0".join([*lines, "", *self._argv]).encode()

    def _pause(self) -> float:
        now = time.monotonic()
        running = self._started is not None and self._end is None and self._cause is None
        return max(0.0, min(self._due - now if running else 0.05, self._deadline - now))

    def _kill_job(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, signal.SIGKILL)

    def _send(self, message: bytes) -> None:
        # A sandbox that is already gone is noticed when its end of the socket closes.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._launched.link.send(message)

    def _receive(self) -> None:
        try:
            data, ancillary, _, _ = self._launched.link.recvmsg(1 << 16, 1024, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            data, ancillary = b"", []
        descriptors, sender = _unpack(ancillary)
        try:
            if not data:
                self._selector.unregister(self._launched.link)
                return
            kept = self._handle(data[:1], data[1:], descriptors, sender)
        except BaseException:
            _close(descriptors)
            raise
        if not kept:
            _close(descriptors)

    def _handle(self, kind: bytes, body: bytes, descriptors: list[int], sender: int) -> bool:
        """Act on one message; True when its descriptors are ours to keep."""
        if kind == b"R" and self._folders is None:
            self._init = os.pidfd_open(sender)
            self._version = body.decode("ascii")
            self._folders = Folders(descriptors[0], tuple(descriptors[1:]))
            return True
        if kind == b"L" and self._started is None and self._hooks.on_network is not None:
            self._hooks.on_network(os.dup(descriptors[0]))
        elif kind == b"J" and self._started is None:
            self._begin(sender)
        elif kind == b"E":
            self._finish(body)
        elif kind == b"A":
            self._collection.offer(name=body, descriptor=descriptors[0])
        elif kind == b"X":
            name, _, why = body.partition(b"\0")
            self._collection.refuse(name=name, why=why.decode())
        elif kind == b"D":
            self._done = True
        return False

    def _begin(self, pid: int) -> None:
        self._process = os.pidfd_open(pid)
        self._meter.admit(pid)
        if self._hooks.on_start is not None:
            self._hooks.on_start(pid)
        self._started = time.monotonic()
        self._deadline = math.inf
        self._send(b"G")

    def _finish(self, body: bytes) -> None:
        status, left, micros, kibibytes = _END.unpack(body)
        self._look()
        self._end = End(status, left, micros / 1e6, kibibytes * 1024)
        self._wall = time.monotonic() - (self._started or time.monotonic())
        self._deadline = time.monotonic() + _END_SECONDS

    def _look(self) -> None:
        if self._folders is not None:
            self._reading = self._meter.sample(self._folders)
            _, self._inodes, full = self._folders.used()
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
            self._deadline = time.monotonic() + _END_SECONDS
            # Both: the signal is immediate, and the init ends what the signal does not reach.
            self._kill_job()
            self._send(b"K")

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

    def _require_started(self) -> None:
        if self._started is None:
            self._launched.process.kill()
            said = " ".join(self._streams["stderr"].text.split())[-400:]
            raise SandboxUnavailable(f"the sandbox does not start here: {said or 'no answer from inside'}")

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


def _unpack(ancillary: list[tuple[int, int, bytes]]) -> tuple[list[int], int]:
    """Descriptors and the sender's process id, which the kernel vouches for."""
    descriptors: list[int] = []
    sender = 0
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers = array.array("i")
            numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
            descriptors.extend(numbers)
        elif level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            sender = _CREDENTIALS.unpack(data[: _CREDENTIALS.size])[0]
    return descriptors, sender


def _close(descriptors: list[int]) -> None:
    for number in descriptors:
        os.close(number)
