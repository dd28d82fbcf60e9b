"""What a job opens, executes and connects to, as the kernel tells it meanwhile (seccomp user notification).

Audit, not enforcement: every call is let through to the filter and the mounts, which decide. What a call
names is read from the caller's memory, where another thread could change it between our look and the
kernel's, so the list says what was asked for and not what came of it. Structures and constants:
<linux/seccomp.h>, seccomp_unotify(2).
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import platform
import select
import selectors
import shlex
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from approvals.sandbox import seccomp
from approvals.sandbox.escape import one_line
from approvals.sandbox.job import Noticed, SandboxUnavailable, Watched
from approvals.sandbox.syscalls import SECCOMP, numbers

# Executions and connections, with all opens of files (where unset), those for writing, or none; or nothing.
VARIABLE = "AGENTSEC_SANDBOX_WATCH"
_WISHES: dict[str, seccomp.Opens | None] = {"all": "all", "writes": "writes", "calls": "none", "off": None}
# No number of a descriptor that a job can have: its limit is not above this.
OUT_OF_REACH = 512
MAX_KEPT = 400
MAX_KEPT_BYTES = 40 * 1024
# Past this many events of one kind nothing of them is read any more: they are let through and counted.
MAX_READ = 20_000
_BATCH, _TELL_SECONDS = 32, 0.25
_MAX_SHOWN, _MAX_PATH, _MAX_WORDS, _FIRST_READ = 512, 4096, 32, 256
_RECEIVE, _SEND, _STILL_THERE, _SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082102, 0x40082104
_SYNC_WAKE_UP, _CONTINUE = 1, 1
_REQUEST, _ANSWER = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI")
_AT_FDCWD, _AT_EMPTY_PATH = -100, 0x1000
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# struct msghdr: name and its length come first; struct mmsghdr is a msghdr and a count.
_MESSAGE, _MESSAGE_STEP, _MAX_MESSAGES = struct.Struct("=QI"), 64, 8
# What every program reads to start. Anything with ".." in it is looked at by its own name.
_SYSTEM = ("/usr/", "/lib/", "/lib32/", "/lib64/", "/bin/", "/sbin/")
_SYSTEM_FILES = frozenset(("/etc/ld.so.cache", "/etc/localtime", "/dev/null", "/run/job.py"))

_Arguments = tuple[int, ...]
_Reader = Callable[[int, _Arguments], list[Noticed]]


@dataclass(frozen=True)
class _Call:
    """A call that is told: the list it belongs to, how that list says it, and what reads its arguments."""

    name: str
    kind: str
    how: str
    read: _Reader
    flags: int | None = None  # which argument says what an open is for

    def purpose(self, arguments: _Arguments) -> str:
        return self.how if self.flags is None else _purpose(arguments[self.flags])

    @property
    def names(self) -> str:
        """What it names its object by."""
        return "address" if self.kind == "connected" else "path"


def orders(rules: bytes) -> bytes:
    """What the job's process needs to confine itself with the filter ``rules``: the init's message S.

    Raises SandboxUnavailable for a value of the variable that means nothing.
    """
    wish = os.environ.get(VARIABLE) or "all"
    if wish not in _WISHES:
        raise SandboxUnavailable(f"{VARIABLE} must be one of {', '.join(_WISHES)}, not {wish!r}")
    opens = _WISHES[wish]
    reporting = b"" if opens is None else seccomp.watching(link=OUT_OF_REACH, opens=opens)
    return struct.pack("=HHH", SECCOMP[platform.machine()], OUT_OF_REACH, len(reporting)) + reporting + rules


def _gap() -> str:
    if os.environ.get(VARIABLE) == "off":
        return f"what it did was not watched: {VARIABLE} is off"
    return "what it did could not be watched: the kernel gives no listener, or too few open files are allowed"


class Watcher:
    """Watches one job by its ``listener`` (the caller's to close; -1: nobody can)."""

    def __init__(
        self, listener: int, *, libraries: tuple[str, ...], tell: Callable[[Watched], None] | None
    ) -> None:
        self._tell = tell
        self._due = self._spent = 0.0
        self._selector: selectors.BaseSelector | None = None
        self._listener = listener
        self._watch = Watch(listener, libraries=libraries) if listener >= 0 else None
        self._last = Watched(gap="" if self._watch else _gap())

    @property
    def cpu_seconds(self) -> float:
        """What it cost this thread so far."""
        return self._spent if self._watch is None else self._watch.cpu_seconds

    def begin(self, selector: selectors.BaseSelector) -> None:
        """Listen as part of ``selector``'s loop."""
        if self._watch is not None:
            self._selector = selector
            selector.register(self._listener, selectors.EVENT_READ, self._serve)

    def end(self) -> None:
        """Stop listening. May be called again. No process of the job may be left that could still ask."""
        if self._watch is not None and self._selector is not None:
            self._last, self._spent = self._watch.report(), self._watch.cpu_seconds
            self._selector.unregister(self._listener)
            self._watch = None

    def report(self) -> Watched:
        """All that was seen."""
        return self._last if self._watch is None else self._watch.report()

    def _serve(self) -> None:
        if self._watch is None:
            return
        if not self._watch.serve():
            self.end()
        elif self._tell is not None and self._watch.changed and time.monotonic() >= self._due:
            self._watch.changed, self._due = False, time.monotonic() + _TELL_SECONDS
            self._tell(self._watch.report())


class Watch:
    """Answers one job's notifications from its ``listener``, and keeps what they said.

    Never blocks: the kernel counts a notification when it is made, so after POLLIN one receive returns at
    once even if its caller was killed meanwhile. ``libraries`` are folders whose reading is only counted.
    """

    def __init__(self, listener: int, *, libraries: tuple[str, ...] = ()) -> None:
        self.listener = listener
        self.cpu_seconds = 0.0
        self.changed = False
        self._libraries = (*_SYSTEM, *(f"{folder}/" for folder in libraries))
        self._poll = select.poll()
        self._poll.register(listener, select.POLLIN)
        self._readers = _readers()
        self._kept: dict[str, dict[tuple[str, str], int]] = {"opened": {}, "executed": {}, "connected": {}}
        self._bytes, self._events = dict.fromkeys(self._kept, 0), dict.fromkeys(self._kept, 0)
        self._library_reads = self._unlisted = self._unread = 0
        # The caller and we take turns, which is quicker on one core; older kernels do not know this.
        with contextlib.suppress(OSError):
            fcntl.ioctl(listener, _SET_FLAGS, _SYNC_WAKE_UP)

    def serve(self) -> bool:
        """Answer what waits now, a batch of it at most; False once no process is left that could ask."""
        begun = time.thread_time()
        try:
            return self._serve()
        finally:
            self.cpu_seconds += time.thread_time() - begun

    def report(self) -> Watched:
        """What was seen so far."""
        opened, executed, connected = (
            tuple(Noticed(what, how, times) for (what, how), times in self._kept[kind].items())
            for kind in ("opened", "executed", "connected")
        )
        return Watched(opened, executed, connected, self._library_reads, self._unlisted, self._unread)

    def _serve(self) -> bool:
        for _ in range(_BATCH):
            waiting = self._poll.poll(0)
            if not waiting:
                return True
            if not waiting[0][1] & select.POLLIN:
                return False
            self._answer()
        return True

    def _answer(self) -> None:
        request = bytearray(_REQUEST.size)
        try:
            fcntl.ioctl(self.listener, _RECEIVE, request)
        except (FileNotFoundError, InterruptedError):
            return
        try:
            self._note(request)
        finally:
            # Whoever asked may be gone by now.
            with contextlib.suppress(FileNotFoundError):
                fcntl.ioctl(
                    self.listener, _SEND, _ANSWER.pack(*_REQUEST.unpack(request)[:1], 0, 0, _CONTINUE)
                )

    def _note(self, request: bytearray) -> None:
        _, thread, _, number, _, _, *given = _REQUEST.unpack(request)
        asked, arguments = self._readers[number], tuple(given)
        self._events[asked.kind] += 1
        if self._events[asked.kind] > MAX_READ:
            self._give_up(asked, asked.purpose(arguments), "not read: too many before it")
            return
        try:
            found = asked.read(thread, arguments)
            # Only now is it certain that what was read belongs to the one who asked.
            fcntl.ioctl(self.listener, _STILL_THERE, bytes(request[:8]))
        except (OSError, OverflowError, struct.error):
            self._give_up(asked, asked.purpose(arguments), f"{asked.names} unreadable")
            return
        for noticed in found:
            self._keep(asked.kind, noticed)

    def _give_up(self, asked: _Call, how: str, why: str) -> None:
        """List that it was asked, whatever else is listed: so few of these differ that there is room."""
        self._unread += 1
        found, key = self._kept[asked.kind], (f"call {asked.name}, {why}", how)
        found[key] = found.get(key, 0) + 1
        self.changed = True

    def _keep(self, kind: str, noticed: Noticed) -> None:
        if noticed.how == "read" and self._is_library(noticed.what):
            self._library_reads += 1
            return
        found, key = self._kept[kind], (noticed.what, noticed.how)
        if key not in found:
            size = len(noticed.what.encode("utf-8"))
            if len(found) >= MAX_KEPT or self._bytes[kind] + size > MAX_KEPT_BYTES:
                self._unlisted += 1
                return
            self._bytes[kind] += size
        found[key] = found.get(key, 0) + 1
        self.changed = True

    def _is_library(self, path: str) -> bool:
        if path in _SYSTEM_FILES:
            return True
        return path.startswith(self._libraries) and "/.." not in path


@functools.cache
def _readers() -> dict[int, _Call]:
    """What reads a call, by its number."""
    known = numbers(machine=platform.machine())
    return {known[call.name]: call for call in _calls() if call.name in known}


def _calls() -> tuple[_Call, ...]:
    cwd, creating = _AT_FDCWD, os.O_WRONLY
    return (
        _Call("execve", "executed", "execute", lambda thread, a: [_executed(thread, cwd, a[0], a[1])]),
        _Call(
            "execveat", "executed", "execute",
            lambda thread, a: [_executed(thread, a[0], a[1], a[2], empty=a[4])],
        ),
        _Call("open", "opened", "open", lambda thread, a: [_opened(thread, cwd, a[0], a[1])], flags=1),
        _Call("creat", "opened", "write", lambda thread, a: [_opened(thread, cwd, a[0], creating)]),
        _Call("openat", "opened", "open", lambda thread, a: [_opened(thread, a[0], a[1], a[2])], flags=2),
        _Call(
            "openat2", "opened", "open",
            lambda thread, a: [_opened(thread, a[0], a[1], _word(thread, a[2]))],
        ),
        _Call("connect", "connected", "connect", lambda thread, a: [_reached(thread, a[1], a[2], "connect")]),
        _Call("sendto", "connected", "send", lambda thread, a: [_reached(thread, a[4], a[5], "send")]),
        _Call("sendmsg", "connected", "send", lambda thread, a: _messages(thread, a[1], 1)),
        _Call(
            "sendmmsg", "connected", "send",
            lambda thread, a: _messages(thread, a[1], min(a[2] & 0xFFFFFFFF, _MAX_MESSAGES)),
        ),
    )  # fmt: skip


def _memory(thread: int, address: int, size: int) -> bytes:
    """Up to ``size`` bytes of a thread's memory; OSError or OverflowError where there are none."""
    descriptor = os.open(f"/proc/{thread}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(descriptor, size, address)
    finally:
        os.close(descriptor)


def _string(thread: int, address: int) -> bytes:
    """A NUL-terminated string, cut where a path would be too long."""
    found, end, _ = _memory(thread, address, _FIRST_READ).partition(b"\0")
    if not end:
        found = _memory(thread, address, _MAX_PATH).partition(b"\0")[0]
    return found


def _word(thread: int, address: int) -> int:
    value: int = struct.unpack("=Q", _memory(thread, address, 8))[0]
    return value


def _shown(raw: bytes) -> str:
    """Bytes that the job chose, as one line that is safe to store and show."""
    cut = raw[:_MAX_SHOWN]
    return one_line(cut) + ("…" if len(raw) > len(cut) else "")


def _path(thread: int, folder: int, address: int, *, empty: bool = False) -> bytes:
    """The path that a call names, with the folder it starts from. Links in it are not followed."""
    name = _string(thread, address)
    if name.startswith(b"/") or not (name or empty):
        return name
    number = struct.unpack("=i", struct.pack("=I", folder & 0xFFFFFFFF))[0]
    link = "cwd" if number == _AT_FDCWD else f"fd/{number}"
    base = os.fsencode(Path(f"/proc/{thread}", link).readlink())
    return base if not name else base.rstrip(b"/") + b"/" + name


def _opened(thread: int, folder: int, address: int, flags: int) -> Noticed:
    return Noticed(_shown(_path(thread, folder, address)), _purpose(flags))


def _purpose(flags: int) -> str:
    return "write" if flags & _WRITING else "read"


def _executed(thread: int, folder: int, address: int, vector: int, *, empty: int = 0) -> Noticed:
    program = _path(thread, folder, address, empty=bool(empty & _AT_EMPTY_PATH))
    words = _words(thread, vector)
    # The first word is by custom the program's name again, and a lie where it is not.
    given = [word.decode("utf-8", "backslashreplace") for word in words[1:]]
    line = shlex.join([program.decode("utf-8", "backslashreplace"), *given])
    return Noticed(_shown(line.encode("utf-8", "backslashreplace")), "execute")


def _words(thread: int, vector: int) -> list[bytes]:
    if vector == 0:
        return []
    table = _memory(thread, vector, 8 * _MAX_WORDS)
    pointers = [pointer for (pointer,) in struct.iter_unpack("=Q", table[: len(table) // 8 * 8])]
    end = pointers.index(0) if 0 in pointers else len(pointers)
    words = [_memory(thread, pointer, _FIRST_READ).partition(b"\0")[0] for pointer in pointers[:end]]
    return words if 0 in pointers else [*words, "…".encode()]


def _messages(thread: int, address: int, count: int) -> list[Noticed]:
    """Where the first datagrams of a call go; those on a connected socket name no address."""
    found = []
    for index in range(count):
        name, length = _MESSAGE.unpack(_memory(thread, address + index * _MESSAGE_STEP, _MESSAGE.size))
        if name:
            found.append(_reached(thread, name, length, "send"))
    return found


def _reached(thread: int, address: int, length: int, how: str) -> Noticed:
    raw = _memory(thread, address, min(length & 0xFFFFFFFF, 128))
    return Noticed(_address(raw), how)


def _address(raw: bytes) -> str:
    """A socket address: host:port, unix:path (unix:@name in the abstract namespace), or its family."""
    family = int.from_bytes(raw[:2], "little")
    port = int.from_bytes(raw[2:4], "big")
    if family == socket.AF_INET and len(raw) >= 8:
        return f"{socket.inet_ntop(family, raw[4:8])}:{port}"
    if family == socket.AF_INET6 and len(raw) >= 24:
        return f"[{socket.inet_ntop(family, raw[8:24])}]:{port}"
    if family == socket.AF_UNIX:
        name = raw[2:]
        return "unix:" + _shown(b"@" + name[1:] if name[:1] == b"\0" else name.partition(b"\0")[0])
    return f"address family {family}" if len(raw) >= 2 else "no address"
