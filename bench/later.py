"""How long after its `not_before` a planned call starts, and when its script says its first word.

    manage.py bench later [CALLS]        (default: 20)

On a whole instance, as `manage.py demo` starts it (web, two workers, clock and sequencer, real sandboxes), on
its real clock: so many scripts are planned for moments spread over ten seconds and approved before. From
PostgreSQL's own times, in seconds after `not_before`:

    started    the transaction that started it (its checks, its fence, its grant)
    ran        the script's own look at the clock, the first thing that it does

A start before its time ends this with an error, and so does one that is later than the goal.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from agentsec_site import embedded
from agentsec_site.home import secret
from bench.killswitch import BOT, TOOL, UNDO, company, until
from tests.e2e.company import Company

GOAL = 1.0
SPREAD = 10.0
SCRIPT = "import time\nprint(time.time())\n"
QUERY = """SELECT started_at, stdout FROM approvals_execution WHERE action_id = %s AND stdout <> ''"""


@dataclass(frozen=True)
class Late:
    """Seconds after its time."""

    started: float
    ran: float


def main(words: Sequence[str]) -> None:
    calls = int(words[0]) if words else 20
    with company() as office:
        ran_before(office)
        found = list(measured(office, calls))
    print(f"seconds after not_before, {len(found)} calls spread over {SPREAD:.0f} s\n")
    print(f"{'':<10} {'least':>6} {'p50':>6} {'max':>6} {'/ goal':>7}")
    for name in ("started", "ran"):
        seconds = sorted(getattr(one, name) for one in found)
        print(f"{name:<10} {seconds[0]:6.2f} {seconds[len(seconds) // 2]:6.2f} {seconds[-1]:6.2f} "
              f"{seconds[-1] / GOAL:7.2f}")  # fmt: skip
    if min(one.started for one in found) < 0 or max(one.started for one in found) > GOAL:
        raise SystemExit(1)


def ran_before(office: Company) -> None:
    """A worker tries its sandbox at its first job, which is no part of how late it is."""
    first = [planned(office, datetime.now(UTC)) for _ in range(4)]
    with times(office) as database:
        until(lambda: all(told(database, one) for one in first), "the first scripts ran")


def measured(office: Company, calls: int) -> Iterator[Late]:
    begin = datetime.now(UTC) + timedelta(seconds=UNDO + calls * 0.2)
    at = [begin + timedelta(seconds=SPREAD * number / calls) for number in range(calls)]
    actions = [planned(office, moment) for moment in at]
    if datetime.now(UTC) > begin:
        raise SystemExit("it took too long to plan them all: fewer calls, please")
    with times(office) as database:
        for moment, action in zip(at, actions, strict=True):
            until(lambda action=action: told(database, action), "it ran")  # type: ignore[misc]
            started, said = told(database, action)
            yield Late((started - moment).total_seconds(), float(said) - moment.timestamp())


def planned(office: Company, at: datetime) -> dict[str, Any]:
    session = office.stage.host(BOT).open_session(purpose="Something planned")
    body = {"session": session, "tool": TOOL, "args": {"code": SCRIPT}, "not_before": at.isoformat()}
    action = dict(office.stage.agent(BOT).call("POST", "/actions", body))
    office.decide(action)
    return action


@contextmanager
def times(office: Company) -> Iterator[Any]:
    services = embedded.plan(office.live.home)
    password = secret(services.home, "postgres.password")
    url = services.postgres_url(user="postgres", password=password, database="agentsec")
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def told(database: Any, action: dict[str, Any]) -> Any:
    """When it started and what it said; None before it said something."""
    time.sleep(0.02)
    return database.execute(QUERY, [action["id"]]).fetchone()
