"""What really happened: agentsec's own word against what was seen outside of it."""

from __future__ import annotations

import bisect
import fcntl
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

from tests.chaos.driving import FINAL, Ledger, Proposed
from tests.chaos.kinds import World
from tests.live import Live

# What nobody and nothing moves an action out of.
SETTLED = ("blocked", "succeeded", "failed", "rejected", "expired", "cancelled")
SHARED = Path("/dev/shm")
ERROR = re.compile(r"[A-Za-z_.]+(Error|Exception|Refused|Unavailable)\b")
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


@dataclass(frozen=True)
class Counted:
    """Every action as it ended: `seen` starts from outside, `logged` starts by the log, both by id."""

    proposed: tuple[Proposed, ...]
    states: Mapping[str, str]
    calls: Counter[str]
    logged: Counter[str]
    seen: Mapping[str, int]
    errors: Mapping[str, str]
    results: Mapping[str, Any]

    @classmethod
    def read(cls, ledger: Ledger, world: World, database: psycopg.Connection[Any]) -> Counted:
        query = "SELECT id::text, state, tool_call_id, error, result_json FROM approvals_action"
        rows = database.execute(query).fetchall()
        starts = database.execute("SELECT action_id FROM traces_entry WHERE kind = 'action.running'")
        logged = Counter(row[0] for row in starts)
        return cls(
            proposed=tuple(ledger.proposed), states={row[0]: row[1] for row in rows},
            calls=Counter(row[2] for row in rows if row[2]), logged=logged,
            seen={item.id: _seen(world, item, logged) for item in ledger.proposed},
            errors={row[0]: row[3] for row in rows},
            results={row[0]: json.loads(row[4] or "null") for row in rows if row[1] == "succeeded"},
        )  # fmt: skip

    def state(self, item: Proposed) -> str:
        return self.states.get(item.id, "gone")


def of_actions(ledger: Ledger, counted: Counted) -> Iterator[Check]:
    """The promises about what started, once nothing is open any more."""
    proposed, seen = counted.proposed, counted.seen
    yield Check(
        "every accepted proposal reached an end", f"{len(proposed)} proposed",
        tuple(f"{item} is {counted.state(item)}" for item in proposed if counted.state(item) not in FINAL),
    )  # fmt: skip
    yield Check(
        "one call is one action", f"{len(counted.states)} actions",
        tuple(f"{n} actions of the call {call}" for call, n in counted.calls.items() if n != 1),
    )  # fmt: skip
    yield Check(
        "no rule blocked it", f"{len(proposed)} proposed",
        tuple(f"{item} is blocked" for item in proposed if counted.state(item) == "blocked"),
    )  # fmt: skip
    yield Check(
        "nothing started twice", f"{sum(seen.values())} starts seen from outside",
        # An idempotent tool may start again by itself; each of its starts is in the log, which is asked next.
        tuple(f"{item} started {seen[item.id]} times, and was voted on {1 + item.again} times"
              for item in proposed if not item.kind.idempotent and seen[item.id] > 1 + item.again),
    )  # fmt: skip
    yield Check(
        "nobody started what nobody asked for again", f"{sum(counted.logged.values())} starts logged",
        tuple(f"{item} was started {counted.logged[item.id]} times, and was voted on {1 + item.again} times"
              for item in proposed if not item.kind.idempotent and counted.logged[item.id] > 1 + item.again),
    )  # fmt: skip
    yield Check(
        "no start that the log does not hold", f"{sum(counted.logged.values())} starts logged",
        tuple(f"{item}: {seen[item.id]} seen, {counted.logged[item.id]} logged"
              for item in proposed if seen[item.id] > counted.logged[item.id]),
    )  # fmt: skip
    yield Check(
        "nothing ran without a yes", _told(counted.states.values()),
        tuple(f"{item} is {counted.state(item)} and was seen {seen[item.id]} times" for item in proposed
              if counted.state(item) in NEVER_RAN and not item.kind.idempotent
              and seen[item.id] > item.again),
    )  # fmt: skip
    yield Check(
        "what succeeded did run", f"{Counter(counted.states.values())['succeeded']} succeeded",
        tuple(f"{item} succeeded unseen" for item in proposed
              if counted.state(item) == "succeeded" and item.kind.act is None and not seen[item.id]),
    )  # fmt: skip
    yield from _of_results(counted)
    yield Check(
        "one answer, by whichever way it came", f"{ledger.outages} outages seen by clients",
        (*ledger.odd, *(f"{item} was answered as {item.state} and is {counted.state(item)}"
                        for item in proposed if item.state in SETTLED and counted.state(item) != item.state)),
    )  # fmt: skip


def _of_results(counted: Counted) -> Iterator[Check]:
    """The promises about what came of a start."""
    told = [item for item in counted.proposed if item.kind.holds is not None and item.id in counted.results]
    yield Check(
        "every result is right", f"{len(told)} results",
        tuple(f"{item} came to {str(counted.results[item.id])[:200]}" for item in told
              if item.kind.holds is not None and not item.kind.holds(counted.results[item.id])),
    )  # fmt: skip
    failed = [
        item for item in counted.proposed if item.kind.runs == "sql" and counted.state(item) == "failed"
    ]
    yield Check(
        "a statement that failed changed nothing", f"{len(failed)} statements failed",
        tuple(f"{item} failed ({counted.errors[item.id]}) and wrote" for item in failed
              if item.kind.seen is not None and counted.seen[item.id] > item.again
              and "not known" not in counted.errors[item.id]),
    )  # fmt: skip


def of_times(ledger: Ledger, world: World) -> Check:
    """The promise about what was put off."""
    planned = [
        (item, item.not_before, world.opens.first(item.mark)) for item in ledger.proposed if item.not_before
    ]
    early = tuple(
        f"{item} started {planned_for.timestamp() - began:.2f} s before its time"
        for item, planned_for, began in planned
        if planned_for is not None and began is not None and began < planned_for.timestamp()
    )
    return Check("nothing started before its time", f"{len(planned)} put off", early)


def pauses(
    ledger: Ledger, blows: Sequence[tuple[float, str]], database: psycopg.Connection[Any]
) -> dict[str, list[float]]:
    """For each blow the seconds until a call was accepted again, and until one started again."""
    query = "SELECT extract(epoch FROM at)::float8 FROM traces_entry WHERE kind = 'action.running' ORDER BY 1"
    started = [row[0] for row in database.execute(query)]
    accepted = sorted(item.at for item in ledger.proposed)
    found: dict[str, list[float]] = defaultdict(list)
    for at, name in blows:
        for what, times in (("accepted", accepted), ("started", started)):
            if (place := bisect.bisect_right(times, at)) < len(times):
                found[f"{name}: {what} again"].append(times[place] - at)
    return found


def of_remains(live: Live, database: psycopg.Connection[Any]) -> Iterator[Check]:
    """The promises about privileges, while the instance still runs."""
    alive = database.execute("SELECT tool, state FROM policies_grant WHERE state <> 'revoked'").fetchall()
    roles = database.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'agentsec_g_%'").fetchall()
    total = database.execute("SELECT count(*) FROM policies_grant").fetchone()
    yield Check(
        "no privilege is alive", f"{total[0] if total else 0} grants, {len(roles)} roles",
        (*(f"{tool} is {state}" for tool, state in alive), *(row[0] for row in roles)),
    )  # fmt: skip
    verified = live.manage("verify", check=False)
    last = (verified.stdout + verified.stderr).strip().splitlines()[-1:] or ["verify said nothing"]
    good = verified.returncode == 0 and "VERIFIED" in verified.stdout
    yield Check("the log verifies", last[0][:60], () if good else tuple(last))


@dataclass(frozen=True)
class Surroundings:
    """What there was on this machine before the instance."""

    shared: frozenset[str]
    cgroups: frozenset[str]

    @classmethod
    def now(cls) -> Surroundings:
        return cls(frozenset(map(str, SHARED.iterdir())), frozenset(map(str, _cgroups())))


def of_machine(
    live: Live,
    before: Surroundings,
    folder: Path,
    jobs: Iterable[psutil.Process],
    shared: Set[str],
) -> Iterator[Check]:
    """The promises about this machine, once the instance was stopped; `shared` is what its PostgreSQL had of
    /dev/shm: other instances may run on this machine.
    """
    live.gone(10)
    left = [f"{process.pid} {process.name()}" for process in [*live.survivors(), *jobs] if _lives(process)]
    yield Check("no process is left", f"{len(left)} left", tuple(left))
    after = Surroundings.now()
    mounts = [
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(live.home) in line
    ]
    remains = [
        *(str(path) for path in folder.rglob("*")),
        *((after.shared - before.shared) & shared),
        *(name for name in after.cgroups - before.cgroups if _orphaned(name)),
        *mounts,
    ]
    yield Check("no file, mount or cgroup is left", f"{len(remains)} left", tuple(remains))


def complaints(live: Live) -> Counter[str]:
    """What the processes wrote as the end of a traceback, and how often."""
    found: Counter[str] = Counter()
    for path in live.home.glob("logs/*.log*"):
        lines = path.read_text(errors="replace").splitlines()
        for line, following in zip(lines, lines[1:], strict=False):
            if line.startswith("    ") and ERROR.match(following):
                found[f"{path.name}: {following[:150]}"] += 1
    return found


def _seen(world: World, item: Proposed, logged: Mapping[str, int]) -> int:
    return logged[item.id] if item.kind.seen is None else item.kind.seen(world, item.id, item.mark)


def _told(states: Iterable[str]) -> str:
    return ", ".join(f"{n} {state}" for state, n in sorted(Counter(states).items()))


def _cgroups() -> Iterator[Path]:
    root = Path("/sys/fs/cgroup")
    yield from root.glob("**/agentsec-job-*") if root.is_dir() else ()


def _orphaned(cgroup: str) -> bool:
    """Whether no process that lives holds it: those of other instances are held by theirs."""
    try:
        descriptor = os.open(cgroup, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
