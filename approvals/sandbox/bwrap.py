"""Start bubblewrap with the trusted init inside.

bubblewrap starts with an empty environment, never as uid 0, and takes everything by descriptor, since the
account it runs under may be unable to read what the caller can.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from approvals.sandbox import seccomp
from approvals.sandbox.cgroup import TIER as CGROUP_TIER
from approvals.sandbox.job import Job, SandboxUnavailable

# The account that runs jobs when the caller is root: numeric, without an entry, groups or files anywhere.
UNPRIVILEGED_ID = 60999
_INSIDE_ID = "1000"
_SOURCE_PATH = "/run/job.py"
_INIT = Path(__file__).with_name("init.py").read_text(encoding="utf-8")
_SYSTEM_PYTHON = Path("/usr/bin/python3")
_NAMESPACES = ("user", "ipc", "pid", "net", "uts", "cgroup")
_DEVICES = ("null", "zero", "full", "random", "urandom")
_ETC = ("ld.so.cache", "alternatives", "localtime")
_PASSWD = b"root:x:0:0::/:/usr/sbin/nologin\nagent:x:1000:1000::/tmp:/bin/sh\n"
_GROUP = b"root:x:0:\nagent:x:1000:\n"
_NSSWITCH = b"passwd: files\ngroup: files\nhosts: files\n"


@dataclass(frozen=True)
class Interpreter:
    """The Python inside: its path there, and the folder to bind for it where /usr does not hold it."""

    path: str
    prefix: str | None


@dataclass(frozen=True)
class Launched:
    """A started bubblewrap, and our end of the init's socket."""

    process: subprocess.Popen[bytes]
    link: socket.socket


def find_interpreter(*, system: Path = _SYSTEM_PYTHON) -> Interpreter:
    """The system's Python, else this one's base prefix. Whether it starts inside is for the probe to say."""
    if os.access(system, os.X_OK):
        return Interpreter(str(system), None)
    path = Path(sys.base_prefix, "bin", "python3")
    return Interpreter(str(path), None if path.is_relative_to("/usr") else sys.base_prefix)


def command(job: Job, interpreter: Interpreter) -> tuple[str, ...]:
    """The job's argv as the init runs it."""
    if job.source is None:
        return job.argv
    return (interpreter.path, "-I", "-u", _SOURCE_PATH)


def launch(job: Job, *, tier: str, interpreter: Interpreter) -> Launched:
    """Start ``job``'s sandbox; the job itself waits for the init to be told.

    Raises SandboxUnavailable where a program is missing, ValueError or OSError for an unreadable input file.
    The calling thread must outlive the sandbox: the kernel ties the two together.
    """
    prefix = _privilege_drop()
    program = _which("bwrap", "install bubblewrap 0.8 or newer (Debian, Ubuntu: apt-get install bubblewrap)")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    with contextlib.ExitStack() as held, contextlib.ExitStack() as failed:
        failed.callback(ours.close)
        held.callback(theirs.close)
        fds = _Descriptors(held)
        options = _options(job, tier=tier, interpreter=interpreter, fds=fds)
        arguments = fds.data(b"\0".join(os.fsencode(option) for option in options))
        argv = [*prefix, program, "--args", str(arguments), "--"]
        argv += [interpreter.path, "-I", "-S", "-B", "-c", _INIT, str(theirs.fileno())]
        process = _spawn(argv, stdin=fds.data(job.stdin), passed=[*fds.numbers, theirs.fileno()])
        failed.pop_all()
        _give_pipes(process)
        return Launched(process, ours)


def _spawn(argv: list[str], *, stdin: int, passed: list[int]) -> subprocess.Popen[bytes]:
    try:
        # No user= or preexec_fn: either makes Popen copy this process's page tables, not borrow them.
        return subprocess.Popen(
            argv,
            env={},
            cwd="/",
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            pass_fds=passed,
            start_new_session=True,
        )
    except OSError as error:
        raise SandboxUnavailable(f"bubblewrap does not start: {error}") from error


def _give_pipes(process: subprocess.Popen[bytes]) -> None:
    """Let the job reopen its own output as /dev/stdout, which needs it to own the pipe."""
    if os.geteuid() == 0:
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                os.fchown(pipe.fileno(), UNPRIVILEGED_ID, UNPRIVILEGED_ID)


def _privilege_drop() -> list[str]:
    if os.geteuid() != 0:
        return []
    program = _which("setpriv", "install util-linux (its setpriv lets root leave its privileges)")
    account = str(UNPRIVILEGED_ID)
    return [program, "--reuid", account, "--regid", account, "--clear-groups", "--inh-caps=-all", "--"]


def _which(name: str, remedy: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise SandboxUnavailable(f"{name} is not installed: {remedy}")
    return str(Path(found).absolute())


class _Descriptors:
    """Content that bubblewrap reads by descriptor; all of it closes with ``held``."""

    def __init__(self, held: contextlib.ExitStack) -> None:
        self._held = held
        self.numbers: list[int] = []

    def data(self, content: bytes) -> int:
        """A read-only descriptor of sealed memory: a job that reopens it cannot write either."""
        memory = os.memfd_create("agentsec", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with open(memory, "wb", buffering=0) as sink:
            view = memoryview(content)
            while view:
                view = view[sink.write(view) :]
            seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals)
            return self._hold(os.open(f"/proc/self/fd/{memory}", os.O_RDONLY | os.O_CLOEXEC))

    def file(self, path: Path) -> int:
        """A regular file of the caller's; never a link, nor anything that could block or be a device."""
        number = self._hold(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise ValueError(f"input is not a regular file: {path.name}")
        return number

    def _hold(self, number: int) -> int:
        self._held.callback(os.close, number)
        self.numbers.append(number)
        return number


def _options(job: Job, *, tier: str, interpreter: Interpreter, fds: _Descriptors) -> list[str]:
    filter_fd = fds.data(seccomp.build(counted=tier == CGROUP_TIER))
    options = [f"--unshare-{name}" for name in _NAMESPACES]
    options += ["--disable-userns", "--uid", _INSIDE_ID, "--gid", _INSIDE_ID, "--hostname", "sandbox"]
    options += ["--die-with-parent", "--new-session", "--as-pid-1", "--cap-drop", "ALL"]
    options += _system() + _kernel_folders() + _etc(fds)
    for folder in ("/tmp", "/out", "/dev/shm"):
        options += ["--perms", "0700", "--size", str(int(job.limits.disk_bytes)), "--tmpfs", folder]
    # After /tmp, which may be where it lies.
    if interpreter.prefix is not None:
        options += ["--ro-bind", interpreter.prefix, interpreter.prefix]
    options += _inputs(job, fds)
    return [*options, "--chdir", "/", "--remount-ro", "/", "--seccomp", str(filter_fd)]


def _system() -> list[str]:
    options = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/", name)
        if path.is_symlink():
            options += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            options += ["--ro-bind", str(path), str(path)]
    return options


def _kernel_folders() -> list[str]:
    # /proc read-only: a job may otherwise lower its oom_score_adj. /dev by hand: no terminals, no ptmx.
    options = ["--proc", "/proc", "--remount-ro", "/proc", "--dir", "/dev"]
    for name in _DEVICES:
        options += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    options += ["--symlink", "/proc/self/fd", "/dev/fd"]
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        options += ["--symlink", f"/proc/self/fd/{number}", f"/dev/{name}"]
    return options


def _etc(fds: _Descriptors) -> list[str]:
    options: list[str] = []
    for name in _ETC:
        options += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    for name, content in (("passwd", _PASSWD), ("group", _GROUP), ("nsswitch.conf", _NSSWITCH)):
        options += _readable(fds.data(content), f"/etc/{name}")
    return options


def _inputs(job: Job, fds: _Descriptors) -> list[str]:
    options = ["--dir", "/in"]
    for name, content in job.files.items():
        number = fds.data(content) if isinstance(content, bytes) else fds.file(content)
        options += _readable(number, f"/in/{name}")
    if job.source is not None:
        options += _readable(fds.data(job.source.encode()), _SOURCE_PATH)
    return options


def _readable(number: int, path: str) -> list[str]:
    return ["--perms", "0444", "--ro-bind-data", str(number), path]
