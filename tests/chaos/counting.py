"""What really happened: agentsec's own word against what was seen outside of it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

from tests.chaos.driving import FINAL, Ledger, Proposed
from tests.chaos.kinds import World
from tests.live import Live

NEVER_RAN = ("blocked", "rejected", "expired", "cancelled")


@dataclass(frozen=True)
class Check:
    """One promise: what was counted, and every way in which it was broken."""

    promise: str
    counted: str
    broken: tuple[str, ...]

    @property
    def held(self) -> bool:
        return not self.broken


def of_actions(ledger: Ledger, world: World, database: psycopg.Connection[Any]) -> list[Check]:
    """The promises about what started, once nothing is open any more."""
    rows = database.execute("SELECT id::text, state, tool_call_id, result_json FROM approvals_action").fetchall()
    states = {row[0]: row[1] for row in rows}
    running = Counter(
        row[0] for row in database.execute("SELECT action_id FROM traces_entry WHERE kind = 'action.running'")
    )
    seen = {item.id: item.kind.starts(world, item.id, item.mark) for item in ledger.proposed}
    calls = Counter(row[2] for row in rows)
    results = {row[0]: row[3] for row in rows}
    return [
        Check("every accepted proposal reached an end", f"{len(ledger.proposed)} proposed", tuple(
            f"{_name(item)} is {states.get(item.id, 'gone')}"
            for item in ledger.proposed if states.get(item.id) not in FINAL)),
        Check("one call is one action", f"{len(rows)} actions", tuple(
            f"{calls[call]} actions of the call {call}" for call in calls if calls[call] != 1)),
        Check("nothing started twice", f"{sum(seen.values())} starts seen from outside", tuple(_twice(ledger, seen))),
        Check("no start that the log does not hold", f"{sum(running.values())} starts logged", tuple(
            f"{_name(item)}: {seen[item.id]} seen, {running[item.id]} logged"
            for item in ledger.proposed if seen[item.id] > running[item.id])),
        Check("nothing ran without a yes", _told(states.values()), tuple(
            f"{_name(item)} is {states[item.id]} and was seen {seen[item.id]} times"
            for item in ledger.proposed if states.get(item.id) in NEVER_RAN and seen[item.id] and not item.again)),
        Check("what succeeded did run", f"{_told(states.values(), 'succeeded')}", tuple(
            f"{_name(item)} succeeded unseen"
            for item in ledger.proposed
            if states.get(item.id) == "succeeded" and item.kind.act is None and not seen[item.id])),
        Check("one answer, by whichever way it came", f"{ledger.outages} outages seen by clients", tuple(
            [*ledger.odd, *_unlike(ledger.proposed, states, results)])),
    ]  # fmt: skip


def of_remains(live: Live, database: psycopg.Connection[Any]) -> list[Check]:
    """The promises about privileges, while the instance still runs."""
    alive = database.execute("SELECT tool, state FROM policies_grant WHERE state <> 'revoked'").fetchall()
    roles = database.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'agentsec_g_%'").fetchall()
    total = database.execute("SELECT count(*) FROM policies_grant").fetchone()
    verified = live.manage("verify", check=False)
    last = (verified.stdout + verified.stderr).strip().splitlines()[-1:]
    good = verified.returncode == 0 and "VERIFIED" in verified.stdout
    return [
        Check("no privilege is alive", f"{total[0] if total else 0} grants, {len(roles)} roles",
              tuple([*(f"{tool} is {state}" for tool, state in alive), *(row[0] for row in roles)])),
        Check("the log verifies", " ".join(last)[:60], () if good else tuple(last or ["verify said nothing"])),
    ]  # fmt: skip


@dataclass(frozen=True)
class Surroundings:
    """What there was on this machine before the instance."""

    shared: frozenset[str]
    cgroups: frozenset[str]

    @classmethod
    def now(cls) -> Surroundings:
        return cls(frozenset(os.listdir("/dev/shm")), frozenset(map(str, _cgroups())))


def of_machine(live: Live, before: Surroundings, folder: Path, jobs: Iterable[psutil.Process]) -> list[Check]:
    """The promises about this machine, once the instance was stopped."""
    live.gone(10)
    left = [f"{process.pid} {process.name()}" for process in [*live.survivors(), *jobs] if _lives(process)]
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(live.home) in line]
    after = Surroundings.now()
    mapped = _mapped()
    shared = [name for name in after.shared - before.shared if f"/dev/shm/{name}" not in mapped]
    workers = after.cgroups - before.cgroups
    cgroups = [name for name in workers if not Path("/proc", name.split("agentsec-")[-1].split("-")[0]).exists()]
    files = [str(path.relative_to(folder)) for path in folder.rglob("*")]
    return [
        Check("no process is left", "0 left", tuple(left)),
        Check("no file, mount or cgroup is left", "temporary folder, /dev/shm, mounts, cgroups",
              tuple([*files, *shared, *mounts, *cgroups])),
    ]  # fmt: skip


def _twice(ledger: Ledger, seen: dict[str, int]) -> Iterator[str]:
    for item in ledger.proposed:
        # An idempotent tool may start again by itself; each of its starts is in the log, which is asked too.
        if not item.kind.idempotent and seen[item.id] > 1 + item.again:
            yield f"{_name(item)} started {seen[item.id]} times, and was voted on {1 + item.again} times"


def _unlike(proposed: Iterable[Proposed], states: dict[str, str], results: dict[str, str]) -> Iterator[str]:
    for item in proposed:
        if item.state in FINAL and not item.again and states.get(item.id) != item.state:
            if item.state != "interrupted":
                yield f"{_name(item)} was answered as {item.state} and is {states.get(item.id)}"


def _name(item: Proposed) -> str:
    return f"{item.kind.name} {item.id[:8]}"


def _told(states: Iterable[str], *only: str) -> str:
    counted = Counter(states)
    return ", ".join(f"{n} {state}" for state, n in sorted(counted.items()) if not only or state in only)


def _cgroups() -> Iterator[Path]:
    for root in (Path("/sys/fs/cgroup"),):
        yield from root.glob("**/agentsec-*") if root.is_dir() else ()


def _mapped() -> str:
    """What the living have mapped of /dev/shm; other instances may run on this machine."""
    found = []
    for process in psutil.process_iter():
        try:
            found.append(Path(f"/proc/{process.pid}/maps").read_text())
        except OSError:
            continue
    return "".join(found)


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
