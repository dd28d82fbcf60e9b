"""A sandbox that stands and waits for its job: its processes, the socket to its init, its folders."""

from __future__ import annotations

import array
import contextlib
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from approvals.sandbox import seccomp, watching
from approvals.sandbox.bwrap import Launched
from approvals.sandbox.job import SandboxUnavailable
from approvals.sandbox.meter import Folders

START_SECONDS = 15.0
END_SECONDS = 10.0
_STEP_SECONDS = 0.008
_CREDENTIALS = struct.Struct("=iII")


@dataclass
class Message:
    """One message of the init: its letter, its body, the sender as the kernel vouches for it, descriptors.

    Owns the descriptors that nobody took. No letter: the init is gone.
    """

    kind: bytes
    body: bytes = b""
    sender: int = 0
    descriptors: list[int] = field(default_factory=list)

    def take(self) -> list[int]:
        taken, self.descriptors = self.descriptors, []
        return taken

    def close(self) -> None:
        for number in self.take():
            os.close(number)


class Box:
    """One sandbox. ``version`` is its interpreter's, ``pid`` the host's id of the job's process, which waits;
    ``listener`` is the descriptor that tells what it does, or -1 where nothing does.

    Used for one job and closed. ``libraries`` are folders of the interpreter's outside the system; owns what
    ``launch`` gives it. Raises SandboxUnavailable when it does not come up.
    """

    def __init__(self, launch: Callable[[], Launched], *, libraries: tuple[str, ...], counted: bool) -> None:
        self.version, self.pid = "", 0
        self.folders: Folders | None = None
        self._job: int | None = None
        self.listener = -1
        self.libraries = libraries
        orders = watching.orders(seccomp.build(counted=counted))
        self._launched: Launched | None = launch()
        self._init = self.launched.init
        self.launched.link.settimeout(START_SECONDS)
        self.send(b"S" + orders)

    @property
    def launched(self) -> Launched:
        if self._launched is None:
            raise RuntimeError("this sandbox is closed")
        return self._launched

    def wait_until_ready(self, *, meanwhile: Callable[[], None]) -> None:
        """Return when the job's process waits inside; call ``meanwhile`` every 8 ms until then.

        Closes itself before it raises SandboxUnavailable.
        """
        deadline = time.monotonic() + START_SECONDS
        try:
            while not self.pid or self.folders is None:
                meanwhile()
                if _readable(self.launched.link.fileno(), seconds=_STEP_SECONDS):
                    with contextlib.closing(self.receive()) as message:
                        self._greet(message)
                elif time.monotonic() > deadline:
                    raise self.failed()
        except BaseException:
            self.close()
            raise

    def alive(self) -> bool:
        """Whether its processes still wait: neither ended, neither has anything to say."""
        watched = [number for number in (self._init, self._job) if number is not None]
        return len(watched) == 2 and not any(_readable(number, seconds=0) for number in watched)

    def failed(self) -> SandboxUnavailable:
        """What to raise when it did not come up: its own last words, which are not the job's yet."""
        self._kill()
        stderr = self.launched.stderr
        said = os.read(stderr, 1 << 16) if _readable(stderr, seconds=1) else b""
        words = " ".join(said.decode("utf-8", "replace").split())[-400:]
        return SandboxUnavailable(f"the sandbox does not start here: {words or 'no answer from inside'}")

    def send(self, message: bytes, descriptors: Sequence[int] = ()) -> None:
        """Raises SandboxUnavailable when the init does not take it: the next message must not go through."""
        # A sandbox that is already gone is noticed when its end of the socket closes.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            try:
                if descriptors:
                    socket.send_fds(self.launched.link, [message], list(descriptors))
                else:
                    self.launched.link.send(message)
            except TimeoutError as error:
                raise SandboxUnavailable("the sandbox takes no input: its init does not answer") from error

    def receive(self) -> Message:
        try:
            data, ancillary, _, _ = self.launched.link.recvmsg(1 << 16, 1024, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            data, ancillary = b"", []
        descriptors, sender = _unpack(ancillary)
        return Message(data[:1], data[1:], sender, descriptors)

    def kill_job(self) -> None:
        if self._job is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._job, signal.SIGKILL)

    def close(self) -> None:
        """Kill whatever is left, wait until it is gone, give everything back. May be called again."""
        if self._launched is None:
            return
        launched, process = self._launched, self._launched.process
        ended = self._end_namespace()
        if process is not None:
            if not ended or not _gone(process.pid, seconds=END_SECONDS):
                process.kill()
            process.wait()
        for number in (launched.stdout, launched.stderr):
            os.close(number)
        launched.link.close()
        if self._job is not None:
            os.close(self._job)
            self._job = None
        if self.listener >= 0:
            os.close(self.listener)
        if self.folders is not None:
            self.folders.close()
        self._launched = None

    def _greet(self, message: Message) -> None:
        if message.kind == b"R" and self.folders is None:
            if self._init is None:
                self._init = os.pidfd_open(message.sender)
            self.version = message.body.decode("ascii")
            proc, *writable = message.take()
            self.folders = Folders(proc, tuple(writable))
        elif message.kind == b"J" and self._job is None:
            self._job = os.pidfd_open(message.sender)
            self.pid = message.sender
            self.listener = next(iter(message.take()), -1)
        else:
            raise self.failed()

    def _kill(self) -> None:
        if self.launched.process is not None:
            self.launched.process.kill()
        elif self._init is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init, signal.SIGKILL)

    def _end_namespace(self) -> bool:
        """Kill the init, if there is one: then bubblewrap ends, after it has waited for it.

        The kernel lets an init end only after all else in its process namespace has ended.
        """
        if self._init is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._init, signal.SIGKILL)
        ended = _readable(self._init, seconds=END_SECONDS)
        os.close(self._init)
        self._init = None
        return ended


def _gone(pid: int, *, seconds: float) -> bool:
    process = os.pidfd_open(pid)
    try:
        return _readable(process, seconds=seconds)
    finally:
        os.close(process)


def _readable(number: int, *, seconds: float) -> bool:
    poll = select.poll()
    poll.register(number, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))


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
