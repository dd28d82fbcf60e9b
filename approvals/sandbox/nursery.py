"""The worker's side of a zygote: a sandbox without a job, which brings forth those that have one (zygote.py).

A new sandbox is then a clone and not a start of bubblewrap and of an interpreter. What a job can reach and
what it is held to is the same.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import subprocess
import threading
import time

from approvals.sandbox.bwrap import Interpreter, Launched, connection, launch, pipe
from approvals.sandbox.job import SandboxUnavailable

# Its clones have its memory's layout and hash secret, which a job can learn: not for longer than this.
MAX_AGE_SECONDS = 600.0
_ANSWER_SECONDS = 15.0
_END_SECONDS = 10.0
_RETRY_SECONDS, _RETRY_DEAD_SECONDS = 60.0, 1.0
logger = logging.getLogger(__name__)


class Zygote:
    """One zygote. It ends when it is retired and its last clone has been released: they would end with it.

    The thread that makes it must outlive it. Everything else is for any thread.
    """

    def __init__(self, interpreter: Interpreter, *, counted: bool) -> None:
        self._lock = threading.Lock()
        self._launched: Launched | None = launch(interpreter, counted=counted, zygote=True)
        self._launched.link.settimeout(_ANSWER_SECONDS)
        # One descriptor is all that an answer brings.
        self._launched.link.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
        self._held, self._retired = 0, False
        self.born = time.monotonic()

    def fit(self) -> bool:
        """Whether it is young and alive."""
        launched = self._launched
        if launched is None or time.monotonic() - self.born >= MAX_AGE_SECONDS:
            return False
        return launched.process is not None and launched.process.poll() is None

    def hold(self) -> bool:
        """Keep it from ending until ``release``; False where it ends already."""
        with self._lock:
            if self._retired:
                return False
            self._held += 1
            return True

    def release(self) -> None:
        with self._lock:
            self._held -= 1
            self._end_if_unused()

    def retire(self) -> None:
        """Bring forth no more. May be called again."""
        with self._lock:
            self._retired = True
            self._end_if_unused()

    def bear(self) -> Launched:
        """A sandbox whose init starts. Only while it is held. Raises SandboxUnavailable if it has none."""
        with contextlib.ExitStack() as held, contextlib.ExitStack() as failed:
            ours, theirs = connection()
            failed.callback(ours.close)
            held.callback(theirs.close)
            stdout, stderr = pipe(held, failed), pipe(held, failed)
            init = self._ask([stdout[1], stderr[1], theirs.fileno()])
            failed.pop_all()
            return Launched(ours, stdout[0], stderr[0], process=None, init=init)

    def _ask(self, descriptors: list[int]) -> int:
        with self._lock:
            if self._launched is None:
                raise SandboxUnavailable("this zygote has ended")
            try:
                socket.send_fds(self._launched.link, [b"N"], descriptors)
                said, found, _, _ = socket.recv_fds(self._launched.link, 512, 1, socket.MSG_CMSG_CLOEXEC)
            except OSError as error:
                raise SandboxUnavailable(f"the zygote does not answer: {error}{self._words()}") from error
            if len(found) != 1:
                why = said[1:].decode("utf-8", "replace") or f"it has ended{self._words()}"
                raise SandboxUnavailable(f"the zygote brings forth nothing: {why}")
            return found[0]

    def _words(self) -> str:
        """Its last ones, if it has any."""
        stderr = self._launched.stderr if self._launched is not None else -1
        heard = stderr >= 0 and select.select([stderr], [], [], 0)[0]
        said = os.read(stderr, 1 << 12).decode("utf-8", "replace") if heard else ""
        return f": {' '.join(said.split())[-300:]}" if said else ""

    def _end_if_unused(self) -> None:
        launched = self._launched
        if launched is None or self._held or not self._retired:
            return
        self._launched = None
        # It ends when its socket closes.
        launched.link.close()
        for number in (launched.stdout, launched.stderr):
            os.close(number)
        process = launched.process
        if process is not None:
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Nursery:
    """At most one zygote that brings forth, made of what sandboxes are made of now."""

    def __init__(self) -> None:
        self._zygote: Zygote | None = None
        self._made_of: object = None
        self._not_before = 0.0

    def tend(self, made_of: object, interpreter: Interpreter, *, counted: bool) -> Zygote | None:
        """One that is fit, started if need be; none where that went wrong of late.

        For one thread only, which must outlive every sandbox that comes of it.
        """
        found = self.find(made_of)
        if found is None and time.monotonic() >= self._not_before:
            self.close()
            try:
                self._made_of, self._zygote = made_of, Zygote(interpreter, counted=counted)
            except SandboxUnavailable as error:
                self.give_up(error)
            found = self._zygote
        return found

    def find(self, made_of: object) -> Zygote | None:
        """The one that stands, if it is fit."""
        found = self._zygote
        return found if found is not None and found.fit() and self._made_of == made_of else None

    def give_up(self, error: Exception) -> None:
        """Do without for a while: sandboxes are started by bubblewrap meanwhile, and are as good."""
        logger.warning("sandboxes start slowly, for no zygote can be used: %s", error)
        refused = self._zygote is None or self._zygote.fit()
        self._not_before = time.monotonic() + (_RETRY_SECONDS if refused else _RETRY_DEAD_SECONDS)
        self.close()

    def close(self) -> None:
        found, self._zygote = self._zygote, None
        if found is not None:
            found.retire()
