"""The part of `bench/inbox.py` that needs a running instance."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from agentsec_site import garbage
from approvals.models import Action
from bench import live_run, pending
from policies.models import User

GOAL_MS = 50.0
WARM = 20
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Measured:
    """Milliseconds of server time for one address, and how many queries each took."""

    name: str
    times: tuple[float, ...]
    cpu: float
    queries: int

    @property
    def p99(self) -> float:
        return sorted(self.times)[int(len(self.times) * 0.99)]


def fill(waiting: int, home: Path) -> None:
    buyer, _ = live_run.found(5)
    buyer.ask(0)
    pending.write(waiting - 1, like=Action.objects.get(), groups=list(live_run.GROUPS))
    pending.tidy(home)


def pages(requests: int) -> list[Measured]:
    """The first page of an approver of one group and of an auditor, and the second page."""
    garbage.settle()  # as the web process does
    finance, auditor = User.objects.get(username="person-0"), User.objects.get(username="person-4")
    found = [
        measured("approver of one group", finance, "/", requests),
        measured("auditor", auditor, "/", requests),
    ]
    more = Action.objects.pending().order_by("deadline", "id")[5000]
    after = f"/?after={more.deadline.isoformat()}~{more.pk}".replace("+", "%2B")
    return [*found, measured("auditor, in the middle", auditor, after, requests)]


def measured(name: str, user: User, address: str, requests: int) -> Measured:
    """Through the site's whole stack of middleware, without the socket to the browser."""
    client = Client(headers={"host": HOST})
    client.force_login(user, backend=live_run.BACKEND)
    with CaptureQueriesContext(connection) as caught:
        answer = client.get(address)
        queries = len(caught)
    if answer.status_code != 200 or b'class="row"' not in answer.content:
        raise SystemExit(f"{address}: {answer.status_code}")
    times, computed = [], []
    for _ in range(WARM + requests):
        began, cpu = time.perf_counter(), time.thread_time()
        client.get(address)
        times.append((time.perf_counter() - began) * 1000)
        computed.append((time.thread_time() - cpu) * 1000)
    return Measured(name, tuple(times[WARM:]), statistics.median(computed[WARM:]), queries)


def report(found: list[Measured]) -> None:
    print(f"{'page':<26} {'p50 ms':>8} {'p99 ms':>8} {'/ goal':>7} {'cpu ms':>7} {'queries':>8}")
    for one in found:
        p50 = statistics.median(one.times)
        print(
            f"{one.name:<26} {p50:8.1f} {one.p99:8.1f} {one.p99 / GOAL_MS:7.2f} {one.cpu:7.1f} "
            f"{one.queries:8}"
        )
