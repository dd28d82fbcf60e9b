"""What goes into the sandbox and what comes out: frozen values, no behaviour beyond checking themselves."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

KiB = 1024
MiB = 1024 * KiB
MAX_ARGUMENT_BYTES = 96 * KiB
MAX_NAME_BYTES = 200
WAY_OUT_PORT = 3128

Ending = Literal["exited", "signalled", "wall", "cpu", "memory", "pids", "disk", "output", "stopped", "lost"]


class SandboxUnavailable(RuntimeError):
    """The sandbox cannot run this job as asked; the message says what to do, in one line."""


@dataclass(frozen=True)
class Limits:
    """Bounds of one job. Seconds, bytes and counts; all must be positive.

    ``disk_bytes`` and ``inodes`` bound each of /tmp, /out and /dev/shm; what lies there counts as memory too.
    ``output_bytes`` is kept of each stream; ``artifact_bytes`` is the sum over all artifacts,
    ``network_bytes`` that over all connections in both directions.
    """

    wall_seconds: float = 30.0
    cpu_seconds: float = 20.0
    memory_bytes: int = 256 * MiB
    pids: int = 64
    disk_bytes: int = 64 * MiB
    inodes: int = 4096
    output_bytes: int = 1 * MiB
    artifacts: int = 32
    artifact_bytes: int = 16 * MiB
    network_bytes: int = 64 * MiB

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            # bool is an int to Python; infinity would overflow the kernel's types; half a process is none.
            kinds = int | float if item.name.endswith("_seconds") else int
            if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < 2**53:
                raise ValueError(f"limit {item.name} must be a positive number, not {value!r}")


@dataclass(frozen=True)
class Job:
    """One program to run: ``argv``, or Python ``source`` for the interpreter inside (exactly one of them).

    ``files`` appear read-only at /in/<name>; bytes are content, a Path is a regular file of the caller's.
    ``egress`` and ``secrets`` are refused by backends that cannot enforce them. ``environment`` is added to
    the few variables that each job has. The program starts in /out.
    Raises ValueError for anything that no sandbox could run.
    """

    argv: tuple[str, ...] = ()
    source: str | None = None
    files: Mapping[str, bytes | Path] = field(default_factory=dict)
    stdin: bytes = b""
    limits: Limits = field(default_factory=Limits)
    egress: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if bool(self.argv) == (self.source is not None):
            raise ValueError("a job is either argv or source")
        _check_argv(self.argv)
        if self.source is not None:
            self.source.encode("utf-8")
        for name in self.files:
            _check_name(name)
        _check_nesting(set(self.files))
        _check_environment(self.environment)


@dataclass(frozen=True)
class Artifact:
    """A regular file the job left in /out: its relative name, SHA-256 in hex, and content."""

    name: str
    sha256: str
    content: bytes


@dataclass(frozen=True)
class Usage:
    """What the job used: seconds of wall and CPU over its whole tree, and its peak memory in bytes."""

    wall_seconds: float
    cpu_seconds: float
    max_rss_bytes: int


@dataclass(frozen=True)
class Noticed:
    """Something a job asked the kernel for: a path, command line or address as one safe line, how ("read",
    "write", "execute", "connect", "send"), and how many times.
    """

    what: str
    how: str
    times: int = 1


@dataclass(frozen=True)
class Watched:
    """What a job opened, executed and connected to: asked for, whether or not it was refused. Audit only.

    ``library_reads`` were opens for reading below the read-only system; ``unlisted`` did not fit into the
    lists; ``unread`` could not be read or came too many, and are listed by the name of the call (of an open
    whose flags are unknown too, how is "open"); ``gap`` says why nothing was watched at all.
    """

    opened: tuple[Noticed, ...] = ()
    executed: tuple[Noticed, ...] = ()
    connected: tuple[Noticed, ...] = ()
    library_reads: int = 0
    unlisted: int = 0
    unread: int = 0
    gap: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a job ended. ``status`` is set when it exited, ``signal`` when a signal ended it.

    ``stdout`` and ``stderr`` are safe to store and show: control characters are escaped, invalid UTF-8 is
    replaced. ``refused_artifacts`` pairs an escaped name with the reason.
    """

    status: int | None
    signal: int | None
    ended: Ending
    stdout: str
    stderr: str
    stdout_truncated: bool
    stderr_truncated: bool
    artifacts: tuple[Artifact, ...]
    refused_artifacts: tuple[tuple[str, str], ...]
    usage: Usage
    tier: str
    interpreter: str
    watched: Watched = field(default_factory=Watched)

    @property
    def opened(self) -> tuple[str, ...]:
        return tuple(item.what for item in self.watched.opened)

    @property
    def executed(self) -> tuple[str, ...]:
        return tuple(item.what for item in self.watched.executed)

    @property
    def connected(self) -> tuple[str, ...]:
        return tuple(item.what for item in self.watched.connected)


@dataclass(frozen=True)
class Status:
    """Whether the sandbox can run jobs here, under which tier and interpreter, and why (not); the host's
    folder of packages that jobs may import, if there is one.
    """

    available: bool
    tier: str
    reason: str
    interpreter: str
    packages: str = ""


def _check_argv(argv: tuple[str, ...]) -> None:
    encoded = [item.encode("utf-8") for item in argv]
    if any(b"\0" in item for item in encoded):
        raise ValueError("an argument holds a NUL character")
    if sum(map(len, encoded)) > MAX_ARGUMENT_BYTES or (argv and not argv[0]):
        raise ValueError("argv is too long, or names no program")


def _check_environment(environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or "\0" in value:
            raise ValueError(f"no variable of an environment: {name[:40]!r}")


def _check_name(name: str) -> None:
    if not name or len(name.encode("utf-8")) > MAX_NAME_BYTES:
        raise ValueError(f"input file name is empty or too long: {name[:40]!r}")
    if any(unicodedata.category(char).startswith("C") for char in name):
        raise ValueError(f"input file name holds a control character: {name!r}")
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise ValueError(f"input file name leaves its folder: {name!r}")


def _check_nesting(names: set[str]) -> None:
    for name in names:
        parts = name.split("/")
        for depth in range(1, len(parts)):
            if "/".join(parts[:depth]) in names:
                raise ValueError(f"input file name is both a file and a folder: {name!r}")
