"""The tier with a cgroup of its own for each job, where the operator delegated one to us (v1 or v2).

File names and formats: the kernel's admin-guide/cgroup-v1 and admin-guide/cgroup-v2.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from approvals.sandbox.job import Limits, SandboxUnavailable
from approvals.sandbox.locks import Locks
from approvals.sandbox.meter import Folders, Reading

TIER = "bwrap+cgroup"
_INTERVAL = 0.05
_PREFIX = "agentsec-job-"
_V1_CONTROLLERS = ("memory", "pids", "cpuacct")
_TRIES, _PAUSE = 30, 0.001


@dataclass(frozen=True)
class Place:
    """Where a cgroup may be made: the folder of each controller (in v2 all share one), and the version."""

    version: int
    folders: tuple[tuple[str, Path], ...]

    def distinct(self) -> list[Path]:
        return list(dict.fromkeys(folder for _, folder in self.folders))


def find(*, mountinfo: str | None = None, membership: str | None = None) -> Place:
    """The place delegated to this process; SandboxUnavailable says why there is none.

    ``mountinfo`` and ``membership`` default to /proc/self/mountinfo and /proc/self/cgroup.
    """
    try:
        mounts = _mounts(mountinfo if mountinfo is not None else Path("/proc/self/mountinfo").read_text())
        text = membership if membership is not None else Path("/proc/self/cgroup").read_text()
    except OSError as error:
        raise SandboxUnavailable(f"this system has no cgroups: {error}") from error
    rows = [line.split(":", 2) for line in text.splitlines()]
    mine = {name: path for _, names, path in rows for name in names.split(",")}
    if all(name in mounts and name in mine for name in _V1_CONTROLLERS):
        folders = tuple((name, _inside(mounts[name], mine[name])) for name in _V1_CONTROLLERS)
        return _writable(Place(1, folders))
    if "" in mounts and "" in mine:
        return _find_v2(_inside(mounts[""], mine[""]), top=Path(mounts[""][1]))
    raise SandboxUnavailable("no cgroup with the memory, pids and cpu controllers is mounted")


def sweep(place: Place) -> None:
    """Remove empty cgroups left by workers that are gone."""
    for folder in place.distinct():
        for left in folder.glob(_PREFIX + "*"):
            # One whose owner lives is locked, one that is still in use refuses its removal: the next sweep
            # comes.
            with contextlib.suppress(OSError):
                owned = _own(left)
                try:
                    left.rmdir()
                finally:
                    os.close(owned)


class Cgroup:
    """A Meter that is a cgroup: the kernel enforces memory and process counts and measures exactly."""

    tier = TIER
    interval = _INTERVAL

    def __init__(self, place: Place, limits: Limits) -> None:
        self._place = place
        self._limits = limits
        self._made: list[Path] = []
        self._owned: list[int] = []
        self._paths: dict[str, Path] = {}
        self._peak = 0
        self._locks = Locks()
        try:
            self._make()
            self._limit()
        except OSError as error:
            self.close()
            raise SandboxUnavailable(f"cannot make a cgroup: {error}") from error

    def _make(self) -> None:
        """Raises OSError where it cannot be made, after all tries. A sweep may take one before it is ours."""
        for left in reversed(range(_TRIES)):
            # The job can read its name, which tells it nothing.
            name = f"{_PREFIX}{secrets.token_hex(8)}"
            self._paths = {controller: folder / name for controller, folder in self._place.folders}
            try:
                for folder in self._place.distinct():
                    (folder / name).mkdir()
                    self._made.append(folder / name)
                    self._owned.append(_own(folder / name))
                return
            except OSError:
                self.close()
                if not left:
                    raise
                time.sleep(_PAUSE)

    def approach(self) -> None:
        """Have the kernel ready for ``admit``: its lock for moving processes takes a grace period, some
        10 ms, for whoever comes first, and next to nothing for who comes within the next few.

        Moves this process to where it is. In version 2 there is no such place that is ours to write.
        """
        if self._place.version == 1:
            # Whatever is wrong here is told, and refused, by the move that counts.
            with contextlib.suppress(OSError):
                _tell(self._place.folders[0][1] / "cgroup.procs", str(os.getpid()))

    def bound(self, limits: Limits) -> None:
        """Hold the job, which does not run yet, to ``limits`` from now on."""
        before, self._limits = self._limits, limits
        if (before.memory_bytes, before.pids) == (limits.memory_bytes, limits.pids):
            return
        try:
            # Memory may never be more than memory and swap together: that one goes out of the way first.
            self._write_if("memory.memsw.limit_in_bytes", "-1")
            self._limit()
        except OSError as error:
            raise SandboxUnavailable(f"cannot limit the job's cgroup: {error}") from error

    def admit(self, pid: int) -> None:
        try:
            for folder in self._made:
                _tell(folder / "cgroup.procs", str(pid))
        except OSError as error:
            raise SandboxUnavailable(f"cannot put the job into its cgroup: {error}") from error

    def rlimits(self) -> dict[str, tuple[int, int]]:
        return {}

    def sample(self, folders: Folders) -> Reading:
        over, peak = self._memory()
        self._peak = max(self._peak, peak)
        cpu = self._cpu()
        return Reading(
            cpu_seconds=cpu,
            peak_bytes=self._peak,
            over_memory=over or self._locks.too_many(folders.proc, cpu_seconds=cpu),
            over_pids=False,
            pids_refused=self._flat("pids", "pids.events").get("max", 0) > 0,
        )

    def close(self) -> None:
        """Remove the cgroup. The kernel takes a moment to let go of processes that have just died."""
        deadline, pause = time.monotonic() + 2, 0.0002
        for folder in self._made:
            while folder.exists():
                try:
                    folder.rmdir()
                except OSError:
                    if time.monotonic() > deadline:
                        break
                    time.sleep(pause)
                    pause = min(0.005, 2 * pause)
        self._made = []
        while self._owned:
            os.close(self._owned.pop())

    def _limit(self) -> None:
        memory, pids = str(int(self._limits.memory_bytes)), str(int(self._limits.pids))
        self._write("pids", "pids.max", pids)
        if self._place.version == 2:
            self._write("memory", "memory.max", memory)
            self._write("memory", "memory.oom.group", "1")
            self._write_if("memory.swap.max", "0")
        else:
            self._write("memory", "memory.limit_in_bytes", memory)
            self._write_if("memory.memsw.limit_in_bytes", memory)
            # v1 does not count TCP buffers as memory; they get a quarter of the limit on top.
            self._write_if("memory.kmem.tcp.limit_in_bytes", str(int(self._limits.memory_bytes) // 4))

    def _write(self, controller: str, name: str, value: str) -> None:
        _tell(self._paths[controller] / name, value)

    def _write_if(self, name: str, value: str) -> None:
        """Bound what not every kernel accounts for."""
        if (self._paths["memory"] / name).exists():
            self._write("memory", name, value)

    def _memory(self) -> tuple[bool, int]:
        """Whether the kernel killed for memory, and the peak in bytes."""
        if self._place.version == 2:
            kills = self._flat("memory", "memory.events").get("oom_kill", 0)
            peak = self._paths["memory"] / "memory.peak"
            return kills > 0, _number(peak if peak.exists() else self._paths["memory"] / "memory.current")
        kills = self._flat("memory", "memory.oom_control").get("oom_kill", 0)
        return kills > 0, _number(self._paths["memory"] / "memory.max_usage_in_bytes")

    def _cpu(self) -> float:
        if self._place.version == 2:
            return self._flat("cpu", "cpu.stat")["usage_usec"] / 1e6
        return _number(self._paths["cpuacct"] / "cpuacct.usage") / 1e9

    def _flat(self, controller: str, name: str) -> dict[str, int]:
        """A flat-keyed file: one key and one number a line."""
        lines = _ask(self._paths[controller] / name).splitlines()
        return {key: int(value) for key, value in (line.split() for line in lines) if value.isdigit()}


def _own(folder: Path) -> int:
    """Hold a cgroup until the descriptor is closed, as the kernel does when its process ends. OSError where
    somebody else holds it, or it is gone.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.stat()
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _number(path: Path) -> int:
    return int(_ask(path))


def _tell(path: Path, value: str) -> None:
    """Without a file object, which takes longer than the kernel: there are a dozen in the life of a job."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def _ask(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 1 << 16).decode()
    finally:
        os.close(descriptor)


def _mounts(text: str) -> dict[str, tuple[str, str]]:
    """Controller → (root, mount point); "" stands for the v2 hierarchy. Format: proc_pid_mountinfo(5)."""
    found: dict[str, tuple[str, str]] = {}
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        root, point = before.split()[3:5]
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2":
            found.setdefault("", (root, point))
        elif kind == "cgroup":
            for name in options.split(","):
                found.setdefault(name, (root, point))
    return found


def _inside(mount: tuple[str, str], path: str) -> Path:
    root, point = mount
    return Path(point, os.path.relpath(path, root)) if root != "/" else Path(point, path.lstrip("/"))


def _writable(place: Place) -> Place:
    for folder in place.distinct():
        if not os.access(folder, os.W_OK | os.X_OK):
            raise SandboxUnavailable(f"the cgroup {folder} is not delegated to this account")
    return place


def _find_v2(own: Path, *, top: Path) -> Place:
    """Our own cgroup, or its parent: one that holds processes cannot hand controllers to its children."""
    candidates = [own, own.parent] if own != top else [own]
    for folder in candidates:
        if os.access(folder / "cgroup.subtree_control", os.W_OK) and _enabled(folder):
            return Place(2, tuple((name, folder) for name in ("memory", "pids", "cpu")))
    raise SandboxUnavailable(f"the cgroup {own} is not delegated with the memory and pids controllers")


def _enabled(folder: Path) -> bool:
    control = folder / "cgroup.subtree_control"
    if not {"memory", "pids"} <= set(control.read_text().split()):
        with contextlib.suppress(OSError):
            control.write_text("+memory +pids")
    return {"memory", "pids"} <= set(control.read_text().split()) and os.access(folder, os.W_OK | os.X_OK)
