"""Start bubblewrap with the trusted init inside.

bubblewrap starts with an empty environment and never as uid 0. It makes the namespaces and binds what belongs
to the host; the rest is mounted by the init, so that one sandbox fits every job, also one that comes later.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from approvals.sandbox import parcel
from approvals.sandbox.job import SandboxUnavailable

# The account that runs jobs when the caller is root: numeric, without an entry, groups or files anywhere.
UNPRIVILEGED_ID = 60999
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",
    "TMPDIR": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
}
_INSIDE_ID = "1000"
# What runs inside: each as its importers name it, and the importer last.
_INSIDE = {
    f"approvals.sandbox.{name}": Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    for name in ("kernel", "handing", "script", "zygote", "init")
}
_SYSTEM_PYTHON = Path("/usr/bin/python3")
_NAMESPACES = ("user", "ipc", "pid", "net", "uts", "cgroup")
_CAPABILITIES = ("CAP_SYS_ADMIN", "CAP_SYS_RESOURCE", "CAP_SETPCAP")
_DEVICES = ("null", "zero", "full", "random", "urandom")
_WRITABLE = ("/tmp", "/out", "/dev/shm")
_ETC = ("ld.so.cache", "alternatives", "localtime")
# Compiling the init takes half as long as starting an interpreter, so it is done once and handed over.
_COMPILE = """
import json, marshal, sys, _frozen_importlib_external as importing
def code(item): return item[0], compile(item[1], item[0], "exec", dont_inherit=True, optimize=2)
parts = [code(item) for item in json.load(sys.stdin).items()]
sys.stdout.buffer.write(importing.MAGIC_NUMBER + marshal.dumps(parts))
"""
_BOOT = """
import marshal, sys, _frozen_importlib_external as importing
parts = open(int(sys.argv[2]), "rb").read()
if parts[:4] != importing.MAGIC_NUMBER: sys.exit("the interpreter has changed")
for name, code in marshal.loads(parts[4:]):
    module = sys.modules[name] = type(sys)(name)
    exec(code, module.__dict__)
"""


@dataclass(frozen=True)
class Interpreter:
    """The Python inside: its path there, and the folder to bind for it where /usr does not hold it."""

    path: str
    prefix: str | None


@dataclass(frozen=True)
class Launched:
    """A started init: our end of its socket, what it and its job print, and what to end it by.

    ``process`` is its bubblewrap, of its own; where there is none ``init`` is its own descriptor (pidfd).
    Everything here is the owner's to close.
    """

    link: socket.socket
    stdout: int
    stderr: int
    process: subprocess.Popen[bytes] | None
    init: int | None = None


def find_interpreter(*, system: Path = _SYSTEM_PYTHON) -> Interpreter:
    """The system's Python, else this one's base prefix. Whether it starts inside is for the probe to say."""
    if os.access(system, os.X_OK):
        return Interpreter(str(system), None)
    path = Path(sys.base_prefix, "bin", "python3")
    return Interpreter(str(path), None if path.is_relative_to("/usr") else sys.base_prefix)


@dataclass(frozen=True)
class Programs:
    """The files that make a sandbox, and what they were: it is as good as the programs it came from."""

    paths: tuple[str, ...]
    facts: tuple[tuple[int, ...], ...]

    def unchanged(self) -> bool:
        return self.facts == _facts(self.paths)


def programs(interpreter: Interpreter) -> Programs:
    """Those that are found now. Raises SandboxUnavailable where one is missing."""
    paths = (_bubblewrap(), interpreter.path, *_privilege_drop()[:1])
    facts = _facts(paths)
    if not facts:
        raise SandboxUnavailable(f"a program of the sandbox is gone: one of {', '.join(paths)}")
    return Programs(paths, facts)


def _facts(paths: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    """What tells one file from another, of each; nothing when one is missing."""
    try:
        found = [os.stat(path) for path in paths]  # noqa: PTH116 (a Path would take longer than the look)
    except OSError:
        return ()
    return tuple((fact.st_dev, fact.st_ino, fact.st_mtime_ns, fact.st_size) for fact in found)


def launch(interpreter: Interpreter, *, counted: bool, zygote: bool = False) -> Launched:
    """Start a sandbox whose init waits for its first message; or one that brings forth others (zygote.py).
    ``counted``: the tier counts memory that no process maps.

    Raises SandboxUnavailable where a program is missing. The calling thread must outlive the sandbox: the
    kernel ties the two together.
    """
    prefix, program = _privilege_drop(), _bubblewrap()
    code = compiled(interpreter.path, programs(interpreter))
    with contextlib.ExitStack() as held, contextlib.ExitStack() as failed:
        ours, theirs = connection()
        failed.callback(ours.close)
        held.callback(theirs.close)
        init = parcel.sealed(code)
        held.callback(os.close, init)
        stdout, stderr = pipe(held, failed), pipe(held, failed)
        argv = [
            *prefix,
            program,
            *_options(interpreter, counted=counted),
            "--",
            interpreter.path,
            "-I",
            "-u",
            "-c",
            _BOOT,
        ]
        argv += [str(theirs.fileno()), str(init), *(["zygote"] if zygote else [])]
        process = _spawn(argv, passed=[init, theirs.fileno()], stdout=stdout[1], stderr=stderr[1])
        failed.pop_all()
        return Launched(ours, stdout[0], stderr[0], process)


def connection() -> tuple[socket.socket, socket.socket]:
    """The worker's end and the init's; the kernel tells the worker who sent what."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    return ours, theirs


def pipe(held: contextlib.ExitStack, failed: contextlib.ExitStack) -> tuple[int, int]:
    """The worker's end, closed by ``failed``, and the job's, closed by ``held``."""
    ours, theirs = os.pipe()
    failed.callback(os.close, ours)
    held.callback(os.close, theirs)
    if os.geteuid() == 0:
        # So that the job can reopen its own output as /dev/stdout.
        os.fchown(theirs, UNPRIVILEGED_ID, UNPRIVILEGED_ID)
    return ours, theirs


@functools.lru_cache(maxsize=4)
def compiled(path: str, programs: Programs) -> bytes:
    """The init as code of the interpreter at ``path``, after that one's magic number.

    ``programs`` says which files they are now, so that an upgraded interpreter compiles anew.
    """
    del programs
    argv = [*_privilege_drop(), path, "-I", "-S", "-B", "-c", _COMPILE]
    texts = json.dumps(_INSIDE).encode()
    try:
        done = subprocess.run(argv, input=texts, env={}, cwd="/", capture_output=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxUnavailable(f"the interpreter {path} does not start: {error}") from error
    if done.returncode != 0:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())[-300:]
        raise SandboxUnavailable(f"the interpreter {path} does not start: {said}")
    return done.stdout


def _spawn(argv: list[str], *, passed: list[int], stdout: int, stderr: int) -> subprocess.Popen[bytes]:
    try:
        # No user= or preexec_fn: either makes Popen copy this process's page tables, not borrow them.
        return subprocess.Popen(
            argv,
            env={},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            pass_fds=passed,
            start_new_session=True,
        )
    except OSError as error:
        raise SandboxUnavailable(f"bubblewrap does not start: {error}") from error


def _privilege_drop() -> list[str]:
    if os.geteuid() != 0:
        return []
    # setpriv does the same and takes half a millisecond longer, for the library it has.
    program = _which("chroot", "install coreutils (its chroot lets root leave its privileges)")
    account = str(UNPRIVILEGED_ID)
    return [program, f"--userspec={account}:{account}", "--groups=", "/"]


def _bubblewrap() -> str:
    return _which("bwrap", "install bubblewrap 0.8 or newer (Debian, Ubuntu: apt-get install bubblewrap)")


def _which(name: str, remedy: str) -> str:
    # Where programs for root are, which an account's own path may leave out.
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        raise SandboxUnavailable(f"{name} is not installed: {remedy}")
    return str(Path(found).absolute())


@functools.lru_cache(maxsize=4)
def _options(interpreter: Interpreter, *, counted: bool) -> tuple[str, ...]:
    options = [f"--unshare-{name}" for name in _NAMESPACES]
    options += ["--uid", _INSIDE_ID, "--gid", _INSIDE_ID, "--hostname", "sandbox"]
    options += ["--die-with-parent", "--new-session", "--as-pid-1", "--cap-drop", "ALL"]
    # Over the sandbox's own namespaces only; the init gives them up before the job begins.
    for capability in _CAPABILITIES:
        options += ["--cap-add", capability]
    for name, value in ENVIRONMENT.items():
        options += ["--setenv", name, value]
    options += [*_system(), "--proc", "/proc", *_devices(counted=counted)]
    for name in _ETC:
        options += _etc(Path("/etc", name))
    for folder in _WRITABLE:
        # The init mounts these sooner. But it cannot where the interpreter lies in one of them.
        inside = interpreter.prefix is not None and Path(interpreter.prefix).is_relative_to(folder)
        options += ["--perms", "0700", *(["--size", "4096", "--tmpfs"] if inside else ["--dir"]), folder]
    if interpreter.prefix is not None:
        options += ["--ro-bind", interpreter.prefix, interpreter.prefix]
    return (*options, "--dir", "/in", "--chdir", "/")


def _etc(path: Path) -> list[str]:
    # A link takes a tenth of a millisecond less than a bind; where it leads to is inside as well.
    if path.is_symlink() and path.resolve().is_relative_to("/usr"):
        return ["--symlink", str(path.resolve()), str(path)]
    return ["--ro-bind-try", str(path), str(path)]


def _system() -> list[str]:
    options = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/", name)
        if path.is_symlink():
            options += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            options += ["--ro-bind", str(path), str(path)]
    return options


def _devices(*, counted: bool) -> list[str]:
    # By hand: no terminals, no ptmx.
    options = ["--dir", "/dev"]
    # /dev/zero can be mapped as shared memory, which lasts unmapped; /dev/full reads the same and cannot.
    stand_in = {} if counted else {"zero": "full"}
    for name in _DEVICES:
        options += ["--dev-bind", f"/dev/{stand_in.get(name, name)}", f"/dev/{name}"]
    options += ["--symlink", "/proc/self/fd", "/dev/fd"]
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        options += ["--symlink", f"/proc/self/fd/{number}", f"/dev/{name}"]
    return options
