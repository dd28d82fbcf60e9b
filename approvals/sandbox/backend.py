"""The default backend: bubblewrap under the best tier there is, chosen once by running a probe."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from approvals.sandbox import cgroup, poller
from approvals.sandbox.box import Box
from approvals.sandbox.bwrap import Interpreter, Launched, Programs, find_interpreter, launch, programs
from approvals.sandbox.cgroup import Cgroup, Place
from approvals.sandbox.job import Job, Limits, Outcome, SandboxUnavailable, Status
from approvals.sandbox.meter import Meter
from approvals.sandbox.nursery import Nursery, Zygote
from approvals.sandbox.parcel import Parcel
from approvals.sandbox.poller import Poller
from approvals.sandbox.pool import Pool, Standing
from approvals.sandbox.supervise import Hooks, Supervisor

TIER_VARIABLE = "AGENTSEC_SANDBOX_TIER"
_TIERS = {"cgroup": cgroup.TIER, "poller": poller.TIER}
_PROBE = Job(argv=("/bin/true",), limits=Limits(wall_seconds=10))


@dataclass(frozen=True)
class _Setting:
    """A tier that a probe has run under: where its cgroups go (none for the poller), and the interpreter."""

    place: Place | None
    interpreter: Interpreter
    status: Status
    programs: Programs

    @property
    def counted(self) -> bool:
        """Whether the tier counts memory that no process maps."""
        return self.place is not None

    def meter(self, limits: Limits) -> Meter:
        return Poller(limits) if self.place is None else Cgroup(self.place, limits)

    def stand(self, limits: Limits, *, zygote: Zygote | None = None) -> Standing:
        """Start a sandbox up to where its job's process waits: by ``zygote``, or a bubblewrap of its own."""
        with contextlib.ExitStack() as failed:
            start: Callable[[], Launched] = partial(launch, self.interpreter, counted=self.counted)
            ended = contextlib.ExitStack()
            if zygote is not None and zygote.hold():
                start = zygote.bear
                ended.callback(zygote.release)
            failed.callback(ended.close)
            prefix = self.interpreter.prefix
            box = Box(start, libraries=(prefix,) if prefix else (), counted=self.counted)
            closing = failed.push(contextlib.ExitStack())
            closing.callback(box.close)
            meter = self.meter(limits)
            # Before the box: a cgroup goes when its processes are gone.
            closing.pop_all()
            failed.callback(meter.close)
            failed.callback(box.close)
            box.wait_until_ready(meanwhile=meter.approach)
            meter.admit(box.pid)
            failed.pop_all()
            return Standing(box, meter, self, ended.close)


class BubblewrapBackend:
    """Runs jobs in bubblewrap. Remembers a probe that succeeded while what it depends on stays the same."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._settings: dict[tuple[str | None, str | None, int], _Setting] = {}
        self._pool: Pool | None = None

    def status(self) -> Status:
        try:
            return self._setting().status
        except SandboxUnavailable as error:
            return Status(available=False, tier="", reason=str(error), interpreter="")

    def run(self, job: Job, *, hooks: Hooks) -> Outcome:
        if (job.egress or job.secrets) and hooks.on_network is None:
            raise SandboxUnavailable("nobody serves this job's network and secrets: ask for neither")
        setting = self._setting()
        with Parcel(job) as parcel, self._standing(setting, job.limits) as standing:
            return _run(job, parcel, standing, hooks=hooks, interpreter=setting.status.interpreter)

    @contextlib.contextmanager
    def warm(self, size: int) -> Iterator[Pool | None]:
        """Keep ``size`` sandboxes ready for jobs that come while the block lasts."""
        if size == 0:
            yield None
            return
        nursery = Nursery()
        pool = Pool(
            size=size,
            make=lambda: self._make(nursery),
            spring=lambda: self._spring(nursery),
            made_of=self._setting,
            close=nursery.close,
        )
        self._pool = pool
        try:
            yield pool
        finally:
            self._pool = None
            pool.close()

    def _make(self, nursery: Nursery) -> Standing:
        setting = self._setting()
        zygote = nursery.tend(setting, setting.interpreter, counted=setting.counted)
        if zygote is not None:
            try:
                return setting.stand(Limits(), zygote=zygote)
            except SandboxUnavailable as error:
                nursery.give_up(error)
        return setting.stand(Limits())

    def _spring(self, nursery: Nursery) -> Standing | None:
        setting = self._setting()
        zygote = nursery.find(setting)
        return setting.stand(Limits(), zygote=zygote) if zygote is not None else None

    @contextlib.contextmanager
    def _standing(self, setting: _Setting, limits: Limits) -> Iterator[Standing]:
        pool = self._pool
        taken = pool.take(setting) if pool is not None else None
        if pool is not None and taken is not None:
            with contextlib.ExitStack() as held:
                held.callback(pool.give_back, taken)
                taken.meter.bound(limits)
                yield taken
            return
        with contextlib.closing(setting.stand(limits)) as started:
            yield started

    def _setting(self) -> _Setting:
        key = (os.environ.get("PATH"), os.environ.get(TIER_VARIABLE), os.geteuid())
        with self._lock:
            known = self._settings.get(key)
            if known is None or not known.programs.unchanged():
                self._settings[key] = known = _probe(forced=key[1])
            return known


def _run(job: Job, parcel: Parcel, standing: Standing, *, hooks: Hooks, interpreter: str) -> Outcome:
    supervisor = Supervisor(standing.box, job=job, argv=job.argv, meter=standing.meter, hooks=hooks)
    return supervisor.run(parcel, interpreter=interpreter)


def _probe(*, forced: str | None) -> _Setting:
    if forced and forced not in _TIERS:
        raise SandboxUnavailable(f"{TIER_VARIABLE} must be one of {', '.join(_TIERS)}, not {forced!r}")
    place, why = None, f"{TIER_VARIABLE} asks for it"
    if forced != "poller":
        try:
            place, why = _usable_place(), "each job has a cgroup of its own"
        except SandboxUnavailable as error:
            if forced == "cgroup":
                raise
            why = f"no cgroup: {error}"
    return _proved(place, why)


def _usable_place() -> Place:
    place = cgroup.find()
    cgroup.sweep(place)
    Cgroup(place, _PROBE.limits).close()
    return place


def _proved(place: Place | None, why: str) -> _Setting:
    tier = cgroup.TIER if place is not None else poller.TIER
    interpreter = find_interpreter()
    untried = _Setting(place, interpreter, Status(False, tier, why, interpreter.path), programs(interpreter))
    try:
        with Parcel(_PROBE) as parcel, contextlib.closing(untried.stand(_PROBE.limits)) as standing:
            version = standing.box.version
            outcome = _run(_PROBE, parcel, standing, hooks=Hooks(), interpreter=interpreter.path)
    except SandboxUnavailable as error:
        hint = (
            ""
            if interpreter.prefix is None
            else f"; /usr/bin/python3 is missing, {interpreter.path} was tried"
        )
        raise SandboxUnavailable(f"{error}{hint}") from error
    if outcome.ended != "exited" or outcome.status != 0:
        raise SandboxUnavailable(f"the sandbox's probe failed ({outcome.ended}): {outcome.stderr[-400:]}")
    proved = Status(True, tier, why, f"{interpreter.path} ({version})")
    return _Setting(place, interpreter, proved, untried.programs)
