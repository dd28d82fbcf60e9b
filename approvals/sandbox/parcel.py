"""What a job is given: content, and the caller's own regular files as descriptors."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path
from types import TracebackType

from approvals.sandbox.job import Job

SOURCE_PATH = "/run/job.py"
# What fits a message goes with it; the rest lies in memory of its own, which costs more to make.
_INLINE_BYTES = 1 << 15
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class Parcel:
    """Every input of one job, opened before anything is started for it. Owns the descriptors.

    ``files`` are messages to the init, each with its descriptors; ``stdin`` is what the job reads.
    Raises ValueError or OSError for an input file that cannot be read.
    """

    def __init__(self, job: Job) -> None:
        self._held: list[int] = []
        self.files: list[tuple[bytes, tuple[int, ...]]] = []
        try:
            self.stdin = self._keep(sealed(job.stdin) if job.stdin else os.open(os.devnull, os.O_RDONLY))
            for name, content in job.files.items():
                self._add(f"/in/{name}", content)
            if job.source is not None:
                self._add(SOURCE_PATH, job.source.encode())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Parcel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        while self._held:
            os.close(self._held.pop())

    def _add(self, path: str, content: bytes | Path) -> None:
        message = b"F" + path.encode() + b"\0"
        if isinstance(content, bytes) and len(content) <= _INLINE_BYTES:
            self.files.append((message + content, ()))
            return
        opened = sealed(content) if isinstance(content, bytes) else regular_file(content)
        self.files.append((message, (self._keep(opened),)))

    def _keep(self, number: int) -> int:
        self._held.append(number)
        return number


def sealed(content: bytes) -> int:
    """A read-only descriptor of sealed memory: who reopens it cannot write either."""
    memory = os.memfd_create("agentsec", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(memory, "wb", buffering=0) as sink:
        view = memoryview(content)
        while view:
            view = view[sink.write(view) :]
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
        return os.open(f"/proc/self/fd/{memory}", os.O_RDONLY | os.O_CLOEXEC)


def regular_file(path: Path) -> int:
    """A regular file of the caller's; never a link, nor anything that could block or be a device."""
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise ValueError(f"input is not a regular file: {path.name}")
    return number
