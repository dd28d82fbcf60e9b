"""Make the environment that agentsec runs in. Stdlib only: it runs before anything is installed.

A Python that already has the packages (the pinned Django among them) is used as it is. Any other makes
`.venv` beside manage.py, installs the pinned requirements there and starts again inside it.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
VENV = REPOSITORY / ".venv"
PYTHON = VENV / "bin" / "python"
REQUIREMENTS = REPOSITORY / "requirements.txt"
DEVELOPMENT = REPOSITORY / "requirements-dev.txt"
BASE: str = getattr(sys, "_base_executable", sys.executable)
OLDEST_PIP = 23  # the first whole year of `--python`, which serves a .venv that has no pip of its own
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^;\s]+)\s*(;.*)?$")


def enter_environment(arguments: Sequence[str]) -> None:
    """Return where the packages are there; else make `.venv`, replace this process by it, never return.

    Exits with one line saying what to do when the environment cannot be made.
    """
    _open_standard_streams()
    os.environ.setdefault("AGENTSEC_BEGAN", str(time.time()))
    files = [REQUIREMENTS, DEVELOPMENT] if arguments[1:2] == ["test"] else [REQUIREMENTS]
    inside = Path(sys.prefix).resolve() == VENV.resolve()
    if not inside and all(map(satisfied, files)):
        return
    moved = _keep_bytecode()
    if not all(map(_installed, files)):
        _install_locked(files)
    elif inside and not moved:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(PYTHON, [str(PYTHON), *arguments])


def _keep_bytecode() -> bool:
    """Where no bytecode may be written beside the sources, keep it in `.venv`; whether that was so.

    An instance is ten processes of a thousand modules each: compiling them all anew at every start takes
    each process two seconds.
    """
    if not os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        return False
    os.environ.setdefault("PYTHONPYCACHEPREFIX", str(VENV / "bytecode"))
    return True


def _open_standard_streams() -> None:
    """Started with a closed stdin, say, the first socket would become descriptor 0 and be taken for it."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def satisfied(requirements: Path) -> bool:
    """Whether this very Python has every unconditional pin of the file, with Django at its version."""
    for line in requirements.read_text().splitlines():
        found = PIN.match(line)
        if not found or found[3]:
            continue
        try:
            version = importlib.metadata.version(found[1])
        except importlib.metadata.PackageNotFoundError:
            return False
        if found[1] == "Django" and version != found[2]:
            return False
    return True


def _marker(requirements: Path) -> Path:
    return VENV / f"agentsec-{requirements.stem}"


def _stamp(requirements: Path) -> str:
    """Changes with the pins and with the Python that they were installed for."""
    return f"{sys.version_info[:2]} {hashlib.sha256(requirements.read_bytes()).hexdigest()}"


def _installed(requirements: Path) -> bool:
    marker = _marker(requirements)
    return PYTHON.exists() and marker.exists() and marker.read_text() == _stamp(requirements)


def _install_locked(files: Sequence[Path]) -> None:
    with _lock():
        if not _usable():
            _make_venv()
        for requirements in files:
            if not _installed(requirements):
                _install(requirements)


@contextmanager
def _lock() -> Iterator[None]:
    """One installation at a time; whoever comes second waits and then finds it done.

    What is started meanwhile (with `close_fds=False`) holds the lock too: a start that is killed leaves its
    pip behind, and the next one must not install into the same folder beside it.
    """
    if not os.access(REPOSITORY, os.W_OK):
        sys.exit(f"agentsec: .venv must go into {REPOSITORY}, which this user cannot write")
    descriptor = os.open(REPOSITORY, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("another start is installing; waiting for it …")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _usable() -> bool:
    """Whether `.venv` holds a working Python of this version; an interrupted one does not."""
    if not PYTHON.exists():
        return False
    probe = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    return subprocess.run([PYTHON, "-c", probe], capture_output=True, check=False).returncode == 0


def _make_venv() -> None:
    missing = [module for module in ("venv", "ensurepip") if importlib.util.find_spec(module) is None]
    if missing:
        name = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        sys.exit(f"agentsec: this Python has no {missing[0]} module; `apt install {name}` brings it")
    _say(f"making {VENV} …")
    if VENV.exists():
        shutil.rmtree(VENV)
    _must([BASE, "-m", "venv", "--without-pip", str(VENV)], f"making {VENV}")


def _pip() -> list[str]:
    """A pip that installs into `.venv`: the base Python's, which is there at once, else one put inside."""
    probe = subprocess.run([BASE, "-m", "pip", "--version"], capture_output=True, text=True, check=False)
    version = re.match(r"pip (\d+)\.", probe.stdout)
    if version and int(version[1]) >= OLDEST_PIP:
        return [BASE, "-m", "pip", "--python", str(PYTHON)]
    _must([str(PYTHON), "-m", "ensurepip", "--upgrade"], "putting pip into .venv")
    return [str(PYTHON), "-m", "pip"]


def _must(command: Sequence[str], what: str) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, close_fds=False
    )
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()
        sys.exit(f"agentsec: {what} failed: {lines[-1] if lines else done.returncode}")


def _install(requirements: Path) -> None:
    count = sum(1 for line in requirements.read_text().splitlines() if PIN.match(line))
    _say(f"installing {count} packages of {requirements.name} into {VENV} …")
    began = time.monotonic()
    # Everything is pinned, dependencies included, so pip need resolve nothing; and nothing is built here.
    command = [*_pip(), "install", "--no-deps", "--only-binary", ":all:", "--no-compile"]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar", "off", "-r", str(requirements)]
    lines = _run_with_progress(command, count)
    if lines:
        sys.exit("agentsec: installing failed: " + _reason(lines) + "; start again when it is mended")
    _marker(requirements).write_text(_stamp(requirements))
    _say(f"installed in {time.monotonic() - began:.0f} s")


def _run_with_progress(command: Sequence[str], count: int) -> list[str]:
    """Run pip, say how far it is every tenth package; its output where it failed, else nothing."""
    lines: list[str] = []
    seen = 0
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        close_fds=False,
    ) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            lines.append(line.rstrip())
            if line.startswith(("Collecting ", "Processing ")):
                seen += 1
                if seen % 10 == 0:
                    _say(f"  {seen} of {count}")
    return lines if pip.returncode else []


def _reason(lines: Sequence[str]) -> str:
    errors = [line for line in lines if line.startswith("ERROR")]
    return errors[-1].removeprefix("ERROR: ") if errors else lines[-1]


def _say(line: str) -> None:
    print(f"agentsec: {line}", file=sys.stderr, flush=True)
