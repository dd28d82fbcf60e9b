"""Hostile programs, each run under every tier there is here; the header of each says what must hold.

The folder is AGENTSEC_ABUSE_DIR (by default shared/abuse beside the repository). A program ends with 42 when
it escaped and 0 when it found itself contained; where its header says ``JUDGE: harness``, ``JUDGES`` does.
What a program would find on a careless host is really there: secrets, listeners, a process, a shared segment.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from approvals import sandbox
from approvals.sandbox import Job, Limits, Outcome
from tests.tiers import forced_tier

REPOSITORY = Path(__file__).resolve().parents[3]
# Where this folder is absent, conftest.py leaves this module out and says so.
FOLDER = Path(os.environ.get("AGENTSEC_ABUSE_DIR", REPOSITORY.parent / "shared" / "abuse"))
PROGRAMS = sorted(FOLDER.glob("*.py"))
LIMITS = Limits(wall_seconds=20, cpu_seconds=2)
SECRET = "planted-secret-" + secrets.token_hex(8)
ALONE = os.environ.get("AGENTSEC_ABUSE_ALONE") == "1"
SHM_KEY = 1396859904


def tiers() -> list[str]:
    found = []
    for tier in ("cgroup", "poller"):
        with forced_tier(tier):
            if sandbox.status().available:
                found.append(tier)
    return found


TIERS = tiers()


@dataclass
class World:
    """A host with things worth stealing, and what a program managed to do to it."""

    folder: Path
    replacements: dict[str, str] = field(default_factory=dict)
    contacts: list[str] = field(default_factory=list)
    host_pid: int = 0
    inner_port: int = 0

    def source(self, program: Path, tier: str) -> str:
        text = program.read_text(encoding="utf-8")
        for planted, real in self.replacements.items():
            text = text.replace(planted, real)
        facts = {"SBX_HOSTPID": str(self.host_pid), "SBX_CGROUP": "1" if tier == "cgroup" else "0"}
        return f"import os; os.environ.update({facts!r})\n{text}"


@dataclass
class Run:
    """One program's outcome and what the harness saw from outside meanwhile."""

    outcome: Outcome
    host_uid: int
    reached_inside: bool


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with contextlib.ExitStack() as held:
        world = World(tmp_path_factory.mktemp("host"))
        plant_files(world)
        plant_listeners(world, held)
        plant_process(world, held)
        plant_segment(held)
        plant_environment(held)
        yield world


def plant_files(world: World) -> None:
    app, home = world.folder / "app", world.folder / "home"
    for folder, name in ((app, ".env"), (home, "secret.txt")):
        folder.mkdir()
        (folder / name).write_text(SECRET)
    world.replacements |= {"/srv/sbx_app": str(app), "/home/sbx": str(home)}


def plant_listeners(world: World, held: contextlib.ExitStack) -> None:
    tcp, udp = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    unix, free = socket.socket(socket.AF_UNIX), socket.socket()
    abstract = f"sbx_abs_{secrets.token_hex(4)}"
    for listener, address in ((tcp, ("127.0.0.1", 0)), (udp, ("127.0.0.1", 0)), (unix, "\0" + abstract)):
        held.callback(listener.close)
        listener.bind(address)
    with free:
        free.bind(("127.0.0.1", 0))
        world.inner_port = free.getsockname()[1]
    world.replacements |= {
        "18099": str(tcp.getsockname()[1]),
        '"127.0.0.1",53': f'"127.0.0.1",{udp.getsockname()[1]}',
        "sbx_abs": abstract,
        "18098": str(world.inner_port),
    }
    for listener in (tcp, unix):
        listener.listen()
        threading.Thread(target=greet, args=(listener, world), daemon=True).start()
    threading.Thread(target=answer, args=(udp, world), daemon=True).start()
    held.callback(hang_up, tcp, udp, unix)


def greet(listener: socket.socket, world: World) -> None:
    with contextlib.suppress(OSError):
        while True:
            peer, _ = listener.accept()
            world.contacts.append("stream")
            peer.close()


def answer(listener: socket.socket, world: World) -> None:
    with contextlib.suppress(OSError):
        while True:
            _, peer = listener.recvfrom(512)
            if peer is None:
                return
            world.contacts.append("datagram")
            listener.sendto(b"answer", peer)


def hang_up(*listeners: socket.socket) -> None:
    for listener in listeners:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def plant_process(world: World, held: contextlib.ExitStack) -> None:
    code = "import sys; sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code, "sbx_host_marker"], stdin=subprocess.PIPE)
    world.host_pid = process.pid
    held.callback(process.wait)
    assert process.stdin is not None
    held.callback(process.stdin.close)


def plant_segment(held: contextlib.ExitStack) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    ipc_creat, ipc_rmid = 0o1000, 0
    segment = libc.shmget(SHM_KEY, 4096, ipc_creat | 0o666)
    assert segment >= 0
    held.callback(libc.shmctl, segment, ipc_rmid, None)


def plant_environment(held: contextlib.ExitStack) -> None:
    for name in ("SBX_WORKER_SECRET", "AWS_SECRET_ACCESS_KEY"):
        os.environ[name] = SECRET
        held.callback(os.environ.pop, name)


@pytest.fixture(scope="session")
def runs(world: World) -> dict[str, dict[str, Run]]:
    """Every program under every tier, several at a time, in sandboxes that a zygote brings forth, as
    a worker's are; or, with AGENTSEC_ABUSE_ALONE=1, under a bubblewrap of its own each, as where no pool is.
    """
    results = {}
    for tier in TIERS:
        with forced_tier(tier), standing(), ThreadPoolExecutor(6) as pool:
            futures = {program.name: pool.submit(run_one, program, tier, world) for program in PROGRAMS}
            results[tier] = {name: future.result() for name, future in futures.items()}
    return results


@contextlib.contextmanager
def standing() -> Iterator[None]:
    if ALONE:
        yield
        return
    with sandbox.warm(1) as kept:
        assert kept is not None
        assert kept.wait_until_full(seconds=30)
        yield


def run_one(program: Path, tier: str, world: World) -> Run:
    uids: list[int] = []
    reached: list[str] = []

    def on_output(stream: str, text: str) -> None:
        if "LISTENING" in text:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", world.inner_port), 1):
                reached.append(text)

    job = Job(source=world.source(program, tier), files={"data.txt": b"input"}, limits=LIMITS)
    outcome = sandbox.run(job, on_output=on_output, on_start=lambda pid: uids.append(host_uid(pid)))
    return Run(outcome, uids[0], bool(reached))


def host_uid(pid: int) -> int:
    found = re.search(r"^Uid:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def names(run: Run) -> list[str]:
    return [artifact.name for artifact in run.outcome.artifacts]


def finished(run: Run) -> bool:
    return run.outcome.status == 43


def calm(text: str) -> bool:
    return all(char in "\n\t" or char.isprintable() for char in text) and text == text.encode().decode()


def within_cpu(run: Run) -> bool:
    """Ended for its CPU time, or never got that much: on a busy host the program's clock runs out first."""
    used = run.outcome.usage.cpu_seconds
    return 0 < used < LIMITS.cpu_seconds or (run.outcome.ended == "cpu" and used < 1.5 * LIMITS.cpu_seconds)


JUDGES: dict[str, Callable[[Run], bool]] = {
    "a01_symlink_out": lambda run: finished(run) and names(run) == [],
    "a02_hardlink_out": lambda run: run.outcome.status == 0 and names(run) == [],
    "a04_names": lambda run: (
        finished(run)
        and names(run) == []
        and all(calm(name) and "\n" not in name for name, _ in run.outcome.refused_artifacts)
    ),
    "a05_zip_bomb": lambda run: finished(run) and names(run) == ["bomb.zip"],
    "a07_toctou_swap": lambda run: (
        finished(run) and all(artifact.content == b"benign" for artifact in run.outcome.artifacts)
    ),
    "a08_many_big_artifacts": lambda run: finished(run) and len(names(run)) == LIMITS.artifacts,
    "n09_listen_reachable": lambda run: finished(run) and not run.reached_inside,
    "o01_ansi": lambda run: finished(run) and calm(run.outcome.stdout) and "FAKE" in run.outcome.stdout,
    "o02_invalid_utf8": lambda run: (
        finished(run) and calm(run.outcome.stdout) and "end" in run.outcome.stdout
    ),
    "o04_long_line": lambda run: (
        finished(run) and run.outcome.stdout_truncated and len(run.outcome.stdout) == LIMITS.output_bytes
    ),
    "p08_uid0": lambda run: finished(run) and run.host_uid != 0,
    "r10_deep_dirs": lambda run: finished(run) and names(run) == [],
    "r12_cpu_spin": within_cpu,
    "r13_cpu_tree": within_cpu,
    "r15_daemon_survivor": finished,
    "r16_hold_stdout": lambda run: finished(run) and run.outcome.usage.wall_seconds < 5,
}
LIMIT_ENDINGS = {"memory", "pids", "disk", "cpu"}


def contained(program: Path, run: Run) -> bool:
    judge = JUDGES.get(program.stem)
    if judge is not None:
        return judge(run)
    assert "# JUDGE: self" in program.read_text(), "a program for the harness has no judge here"
    by_limit = program.stem.startswith("r") and run.outcome.ended in LIMIT_ENDINGS
    return run.outcome.status == 0 or by_limit


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
@pytest.mark.parametrize("tier", TIERS)
def test_a_hostile_program_is_contained(runs: dict[str, dict[str, Run]], tier: str, program: Path) -> None:
    run = runs[tier][program.name]
    assert contained(program, run), run
    assert SECRET not in repr(run.outcome)


@pytest.mark.parametrize("tier", TIERS)
def test_hostile_programs_leave_nothing_and_reach_nobody(
    runs: dict[str, dict[str, Run]], world: World, tier: str
) -> None:
    assert len(runs[tier]) == len(PROGRAMS)
    assert world.contacts == []
    assert not [pid for pid in Path("/proc").glob("[0-9]*") if "sbx_survivor" in command_line(pid)]


def command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""
