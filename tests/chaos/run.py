"""One run of chaos, from an empty home to the counted end."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg

from agentsec_site import embedded
from agentsec_site.demo.client import Client
from agentsec_site.embedded import Services
from agentsec_site.home import secret
from tests.billing import ISSUER, PASSWORD, SCHEMA
from tests.chaos import counting
from tests.chaos.counting import Check, Counted, Surroundings
from tests.chaos.driving import FINAL, Agent, Ledger, Reviewer, spread
from tests.chaos.killing import Killer
from tests.chaos.kinds import KINDS, Answer, World
from tests.chaos.opens import Opens
from tests.live import Live, make_home

RULES = [
    {"name": "chaos-allowed", "effect": "allow", "tools": ["chaos.*"], "when": "!args.ask"},
    {
        "name": "chaos-asked", "effect": "ask", "tools": ["chaos.*"], "when": "args.ask",
        "approvers": "reviewers", "expires_after": "1h",
    },
]  # fmt: skip
AGENT = {"name": "chaos-bot", "mode": "standard", "limits": {"actions_per_minute": 100_000, "pending": 5000}}
SETTLE_SECONDS = 150.0
WORKERS = ("worker-1", "worker-2")


@dataclass
class Report:
    """What came of a run: promises, blows, what processes complained about, and how long it took."""

    checks: list[Check]
    struck: Counter[str]
    states: Counter[str]
    starts: Counter[str]
    complaints: Counter[str]
    seconds: float = 0.0

    @property
    def held(self) -> bool:
        return all(check.held for check in self.checks)


@dataclass
class Chaos:
    """A running instance with agents, a reviewer and observers; `say` hears how far it is."""

    live: Live
    opens: Opens
    say: Callable[[str], None]
    before: Surroundings
    folder: Path
    ledger: Ledger = field(default_factory=Ledger)
    jobs: set[psutil.Process] = field(default_factory=set)
    workers: set[int] = field(default_factory=set)
    shared: set[str] = field(default_factory=set)
    done: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.services = embedded.plan(self.live.home)
        self.world = World(self.opens, self._as_role)
        self.agent, self.reviewer = self._prepare()

    def play(self, *, actions: int, threads: int, seed: int, pause: float, forgets: float) -> Report:
        """Let agents propose while everything is struck, settle, and count. `pause` is the mean time between
        two blows, in seconds; `forgets` how often an agent never reports.
        """
        judge = Reviewer(self.reviewer, self.ledger, seed)
        killer = Killer(self.live, seed, pause, lambda: len(self.ledger.proposed))
        agents = [
            threading.Thread(target=self._drive, args=[share, seed * 1000 + number, forgets], daemon=True)
            for number, share in spread(actions, threads)
        ]
        others = [threading.Thread(target=work, daemon=True) for work in (judge.work, self._note_jobs)]
        strikes = threading.Thread(target=killer.work, daemon=True)
        for thread in (*agents, *others, strikes):
            thread.start()
        self._watch(agents, actions, killer)
        killer.stop.set()
        strikes.join()
        killer.thaw(now=True)
        self.shared |= killer.shared
        self.settle()
        judge.stop.set()
        self.done.set()
        for thread in others:
            thread.join(10)
        return self._count(killer)

    def end(self, report: Report) -> None:
        """Stop the instance and count what is left of it on this machine."""
        report.complaints.update(counting.complaints(self.live))
        self.live.stop()
        report.checks += counting.of_machine(
            self.live, self.before, self.folder, self.jobs, self.workers, self.shared
        )

    def settle(self) -> None:
        """Wait until nothing is open and every grant has ended, as long as the longest of them lives."""
        deadline = time.monotonic() + SETTLE_SECONDS
        self.say("  letting it settle")
        while time.monotonic() < deadline and not self._settled():
            time.sleep(0.25)

    def database(self) -> psycopg.Connection[Any]:
        """As a superuser, to agentsec's own database."""
        return psycopg.connect(_admin(self.services, "agentsec"), autocommit=True, connect_timeout=5)

    def _prepare(self) -> tuple[Client, Client]:
        """A company's database, tools and rules, an agent and a reviewer."""
        _make_database(self.services)
        address = self.services.postgres_url(user=ISSUER, password=quote(PASSWORD), database="chaos")
        self.live.manage("secret", "set", "chaos-database", given=address)
        self.live.manage("user", "create", "rita", "--groups", "reviewers")
        file = self.live.home / "chaos.yaml"
        world = {"agents": [AGENT], "tools": [dict(kind.tool) for kind in KINDS], "rules": RULES}
        file.write_text(json.dumps(world))
        self.live.manage("apply", str(file))
        key = self.live.manage("agent", "create", "chaos-bot").stdout.split()[-1]
        token = self.live.manage("token", "create", "rita").stdout.split()[-1]
        return Client(self.live.url, key), Client(self.live.url, token)

    def _drive(self, share: Iterator[int], seed: int, forgets: float) -> None:
        until = time.monotonic() + 3600
        try:
            Agent(self.agent, self.world, self.ledger, seed, until=until, forgets=forgets).work(share)
        except Exception as error:  # noqa: BLE001 - told in the table: an agent that gives up is a finding
            self.ledger.contradiction(f"an agent gave up: {type(error).__name__}: {error}")

    def _watch(self, agents: list[threading.Thread], actions: int, killer: Killer) -> None:
        told = time.monotonic()
        for thread in agents:
            while thread.is_alive():
                thread.join(0.25)
                if self.live.process is None or self.live.process.poll() is not None:
                    raise AssertionError("the instance ended by itself:\n" + "".join(self.live.lines[-40:]))
                if time.monotonic() > told + 20:
                    told = time.monotonic()
                    self.say(
                        f"  {len(self.ledger.proposed)} of {actions}, {sum(killer.struck.values())} blows"
                    )

    def _note_jobs(self) -> None:
        """Every process that a worker has started, to be asked for at the end."""
        while not self.done.wait(0.2):
            for name in WORKERS:
                with contextlib.suppress(AssertionError, psutil.Error):
                    worker = self.live.child(name)
                    self.workers.add(worker.pid)
                    self.jobs.update(worker.children(recursive=True))

    def _settled(self) -> bool:
        query = (
            "SELECT (SELECT count(*) FROM approvals_action WHERE NOT state = ANY(%s)"
            " OR (state = 'interrupted' AND idempotent)),"
            " (SELECT count(*) FROM policies_grant WHERE state <> 'revoked')"
        )
        try:
            with self.database() as database:
                return database.execute(query, [list(FINAL)]).fetchone() == (0, 0)
        except psycopg.Error:
            return False

    def _count(self, killer: Killer) -> Report:
        starts: Counter[str] = Counter()
        with self.database() as database:
            counted = Counted.read(self.ledger, self.world, database)
            checks = [*counting.of_actions(self.ledger, counted), *counting.of_remains(self.live, database)]
        for item in counted.proposed:
            starts[item.kind.name] += counted.seen[item.id]
        if self.opens.overflown:
            checks.append(Check("the observer saw everything", "", ("inotify's queue ran over",)))
        return Report(checks, killer.struck, Counter(counted.states.values()), starts, Counter())

    def _as_role(self, told: Answer) -> str:
        return self.services.postgres_url(
            user=told["username"], password=quote(told["password"]), database=told["database"]
        )


@contextlib.contextmanager
def chaos(say: Callable[[str], None] = print) -> Iterator[Chaos]:
    """An instance to be struck; it is removed at the end, whatever happened."""
    before, folder, opens = Surroundings.now(), Path(tempfile.mkdtemp(prefix="agentsec-chaos-")), Opens()
    # What a crash of PostgreSQL may not lose must have been written: tests switch that off.
    live = Live(home=make_home(), environment={"AGENTSEC_EMBEDDED_FSYNC": "on", "TMPDIR": str(folder)})
    try:
        live.start()
        say(f"An instance runs in {live.home} ({live.seconds:.0f} s).")
        yield Chaos(live, opens, say, before, folder)
    finally:
        live.remove()
        opens.close()
        shutil.rmtree(folder)


def run(*, actions: int, threads: int, seed: int, pause: float, say: Callable[[str], None] = print) -> Report:
    """The long form: start, strike, settle, count, remove."""
    began = time.monotonic()
    with chaos(say) as made:
        report = made.play(actions=actions, threads=threads, seed=seed, pause=pause, forgets=0.02)
        made.end(report)
    report.seconds = time.monotonic() - began
    return report


def _admin(services: Services, database: str) -> str:
    return services.postgres_url(
        user="postgres", password=secret(services.home, "postgres.password"), database=database
    )


def _make_database(services: Services) -> None:
    with psycopg.connect(_admin(services, "postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {ISSUER} LOGIN CREATEROLE PASSWORD '{PASSWORD}'")
        connection.execute("CREATE DATABASE chaos")
        connection.execute("REVOKE ALL ON DATABASE chaos FROM PUBLIC")
        connection.execute(f"GRANT CONNECT ON DATABASE chaos TO {ISSUER} WITH GRANT OPTION")
    with psycopg.connect(_admin(services, "chaos"), autocommit=True) as connection:
        connection.execute(SCHEMA)
        connection.execute(f"GRANT USAGE ON SCHEMA public TO {ISSUER} WITH GRANT OPTION")
        connection.execute(f"GRANT SELECT ON invoices, salaries TO {ISSUER} WITH GRANT OPTION")
