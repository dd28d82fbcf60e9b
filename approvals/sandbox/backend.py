"""The default backend: bubblewrap under the best tier there is, chosen once by running a probe."""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass

from approvals.sandbox import cgroup, poller
from approvals.sandbox.bwrap import Interpreter, command, find_interpreter, launch
from approvals.sandbox.cgroup import Cgroup, Place
from approvals.sandbox.job import Job, Limits, Outcome, SandboxUnavailable, Status
from approvals.sandbox.meter import Meter
from approvals.sandbox.poller import Poller
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

    def meter(self, limits: Limits) -> Meter:
        return Poller(limits) if self.place is None else Cgroup(self.place, limits)


class BubblewrapBackend:
    """Runs jobs in bubblewrap. Remembers a probe that succeeded while what it depends on stays the same."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._settings: dict[tuple[str | None, str | None, int], _Setting] = {}

    def status(self) -> Status:
        try:
            return self._setting().status
        except SandboxUnavailable as error:
            return Status(available=False, tier="", reason=str(error), interpreter="")

    def run(self, job: Job, *, hooks: Hooks) -> Outcome:
        if (job.egress or job.secrets) and hooks.on_network is None:
            raise SandboxUnavailable("nobody serves this job's network and secrets: ask for neither")
        setting = self._setting()
        return _execute(job, setting=setting, hooks=hooks)[0]

    def _setting(self) -> _Setting:
        key = (os.environ.get("PATH"), os.environ.get(TIER_VARIABLE), os.geteuid())
        with self._lock:
            if key not in self._settings:
                self._settings[key] = _probe(forced=key[1])
            return self._settings[key]


def _execute(job: Job, *, setting: _Setting, hooks: Hooks) -> tuple[Outcome, str]:
    """The outcome, and the version that the interpreter inside reported."""
    with contextlib.ExitStack() as held:
        meter = setting.meter(job.limits)
        held.callback(meter.close)
        launched = launch(job, tier=meter.tier, interpreter=setting.interpreter)
        argv = command(job, setting.interpreter)
        supervisor = Supervisor(launched, job=job, argv=argv, meter=meter, hooks=hooks)
        held.callback(supervisor.close)
        return supervisor.run(interpreter=setting.status.interpreter), supervisor.version


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
    untried = _Setting(place, interpreter, Status(False, tier, why, interpreter.path))
    try:
        outcome, version = _execute(_PROBE, setting=untried, hooks=Hooks())
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
    return _Setting(place, interpreter, proved)
