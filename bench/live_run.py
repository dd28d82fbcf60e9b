"""The part of `bench/live.py` that needs a running instance: its people, its web process and the changes."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import Group
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session as SignIn
from django.db import transaction
from django.utils import timezone

from agentsec_site.embedded import REPOSITORY
from agentsec_site.listening import listen
from agentsec_site.supervisor import healthy
from approvals import pipeline
from policies import agents, sessions, world
from policies.models import Agent, AgentKey, User
from traces.models import Session

GROUPS = ("finance", "comms", "legal", "operations")
GOAL = 1.2
WARM = 3
PATIENCE = 120.0
SETTLE = 0.8  # seconds between two rounds: none may run into the one before
BACKEND = "django.contrib.auth.backends.ModelBackend"
RULES = [
    {"name": f"ask-{name}", "effect": "ask", "tools": ["order.place"], "approvers": name} for name in GROUPS
]
WORLD = {
    "agents": [{"name": "buyer", "team": "finance", "mode": "standard",
                "limits": {"actions_per_minute": 100_000, "actions_per_day": 100_000, "pending": 100_000}}],
    "tools": [{
        "name": "order.place", "effect": "write", "output": "trusted", "sends": "external",
        "authority": ["supplier"], "target": "supplier", "summary": "Order {item} from {supplier}",
        "parameters": {"type": "object", "properties": {
            "supplier": {"type": "string"}, "item": {"type": "string"}, "amount": {"type": "integer"}}},
    }],
    "rules": RULES,
}  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """Milliseconds from the commit, or the call of broadcast, until the last socket had the message."""

    ours: tuple[float, ...]
    bare: tuple[float, ...]
    first: tuple[float, ...]  # ours, until the first socket had it

    @property
    def ratio(self) -> float:
        return statistics.median(self.ours) / statistics.median(self.bare)


@dataclass
class Buyer:
    agent: Agent
    key: AgentKey
    session: Session

    def ask(self, number: int) -> float:
        """One call that all four groups are asked about; when its transaction had committed."""
        stamps: list[float] = []
        with transaction.atomic():
            # Before whatever the call itself does on commit, its announcement above all.
            transaction.on_commit(lambda: stamps.append(time.monotonic()))
            pipeline.propose(
                agent=self.agent, key=self.key, session_id=self.session.pk, tool="order.place",
                args={"supplier": f"Acme {number}", "item": "paper, A4, 80 g", "amount": 400 + number},
            )  # fmt: skip
        return stamps[0]


def run(sockets: int, rounds: int) -> Measured:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    buyer, cookies = found(sockets)
    path = "/ws/live?topic=inbox"
    with web() as port, bare() as rival:
        rival_port = rival.hear()["port"]
        with (
            clients({"port": port, "path": path, "cookies": cookies}) as ours,
            clients({"port": rival_port, "path": "/", "cookies": [""] * sockets}) as theirs,
        ):
            return measured(buyer, ours, rival, theirs, rounds)


def measured(buyer: Buyer, ours: Line, rival: Line, theirs: Line, rounds: int) -> Measured:
    """Turn about, so that whatever else the machine does meets both alike; the first rounds do not count."""
    times: dict[str, list[float]] = {"ours": [], "bare": [], "first": []}
    for number in range(WARM + rounds):
        time.sleep(SETTLE)
        began = buyer.ask(number)
        heard = ours.hear()
        if heard["closed"]:
            raise SystemExit(f"{heard['closed']} sockets were closed")
        times["ours"].append((heard["last"] - began) * 1000)
        times["first"].append((heard["first"] - began) * 1000)
        time.sleep(SETTLE)
        rival.say(heard["text"])
        began = rival.hear()["began"]
        times["bare"].append((theirs.hear()["last"] - began) * 1000)
    return Measured(*(tuple(times[name][WARM:]) for name in ("ours", "bare", "first")))


def found(sockets: int) -> tuple[Buyer, list[str]]:
    """The agent, and as many signed-in people: four approver groups and auditors, a fifth each."""
    world.apply(json.dumps(WORLD), by="bench")
    agent = Agent.objects.get(name="buyer")
    key = agents.authenticate_key(agents.issue_key(agent, ["act", "attest"], by="bench"))
    assert key is not None
    session = sessions.open_session(agent=agent, key=key, user="erin")
    return Buyer(agent, key, session), [cookie(user) for user in people(sockets)]


def people(count: int) -> list[User]:
    made = User.objects.bulk_create(
        User(username=f"person-{number}", password=f"!{number}",
             roles=["auditor"] if number % 5 == 4 else ["approver", "member"])
        for number in range(count)
    )  # fmt: skip
    groups = [Group.objects.get_or_create(name=name)[0] for name in GROUPS]
    User.groups.through.objects.bulk_create(
        User.groups.through(user=user, group=groups[number % 5])
        for number, user in enumerate(made)
        if number % 5 < 4
    )
    return made


def cookie(user: User) -> str:
    store = SessionStore()
    told = {
        SESSION_KEY: str(user.pk), BACKEND_SESSION_KEY: BACKEND,
        HASH_SESSION_KEY: user.get_session_auth_hash(),
    }  # fmt: skip
    key = store._get_new_session_key()
    until = timezone.now() + timedelta(hours=1)
    SignIn.objects.create(session_key=key, session_data=store.encode(told), expire_date=until)
    return f"{settings.SESSION_COOKIE_NAME}={key}"


@contextlib.contextmanager
def web() -> Iterator[int]:
    """The site's own web process, as the supervisor starts it; its port."""
    listener = listen("127.0.0.1", 0)
    environment = {**os.environ, "AGENTSEC_PROCESS": "agentsec web", "AGENTSEC_LOG_LEVEL": "WARNING"}
    descriptor = listener.socket.fileno()
    process = subprocess.Popen(
        [sys.executable, "-m", "agentsec_site.web", str(descriptor)], env=environment, cwd=REPOSITORY,
        pass_fds=[descriptor],
    )  # fmt: skip
    try:
        end = time.monotonic() + PATIENCE
        while not healthy(listener):
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit("the web process did not start")
            time.sleep(0.1)
        yield listener.port
    finally:
        process.terminate()
        process.wait(20)
        listener.socket.close()


class Line:
    """A process of this benchmark that is spoken to line by line."""

    def __init__(self, module: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", module], cwd=REPOSITORY, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def say(self, told: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(told) + "\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args} ended")
        return dict(json.loads(line))

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait(20)
        self.process.stdout.close()


@contextlib.contextmanager
def bare() -> Iterator[Line]:
    with contextlib.closing(Line("bench.live_bare")) as line:
        yield line


@contextlib.contextmanager
def clients(told: dict[str, Any]) -> Iterator[Line]:
    """So many sockets in a process of their own, all connected."""
    with contextlib.closing(Line("bench.live_clients")) as line:
        line.say(told)
        line.hear()
        yield line


def show(name: str, times: Sequence[float]) -> None:
    ordered = sorted(times)
    print(f"{name:<28} {statistics.median(ordered):8.1f} {ordered[0]:8.1f} {ordered[-1]:8.1f}")


def report(found: Measured) -> None:
    print(f"{'ms until the last had it':<28} {'median':>8} {'least':>8} {'most':>8}")
    show("agentsec, from the commit", found.ours)
    show("  of that, until the first", found.first)
    show("websockets.broadcast alone", found.bare)
    print(f"\nratio of the medians: {found.ratio:.2f} (goal: {GOAL})")
