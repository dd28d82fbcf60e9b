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
from tests.chaos.counting import Check, Surroundings
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


@dataclass
class Report:
    """What came of a run: promises, blows, and how long it took."""

    checks: list[Check]
    struck: Counter[str]
    states: Counter[str]
    seconds: float
    starts: Counter[str] = field(default_factory=Counter)

    @property
    def held(self) -> bool:
        return all(check.held for check in self.checks)


def run(
    *, actions: int, threads: int = 8, seed: int = 0, pause: float = 3.0, patience: float = 3600.0,
    say: Callable[[str], None] = print,
) -> Report:  # fmt: skip
    """Start, strike, settle, count, remove. `pause` is the mean time between two blows, in seconds."""
    began, before = time.monotonic(), Surroundings.now()
    folder, opens = Path(tempfile.mkdtemp(prefix="agentsec-chaos-")), Opens()
    # What a crash of PostgreSQL may not lose must have been written: tests switch that off.
    live = Live(home=make_home(), environment={"AGENTSEC_EMBEDDED_FSYNC": "on", "TMPDIR": str(folder)})
    try:
        live.start()
        say(f"An instance runs in {live.home} ({live.seconds:.0f} s).")
        run_ = _Run(live, opens, actions, threads, seed, pause, time.monotonic() + patience, say)
        checks = run_.play()
        live.stop()
        checks += counting.of_machine(live, before, folder, run_.jobs)
        return Report(checks, run_.killer.struck, run_.states, time.monotonic() - began, run_.starts)
    finally:
        live.remove()
        opens.close()
        shutil.rmtree(folder)


class _Run:
    def __init__(
        self, live: Live, opens: Opens, actions: int, threads: int, seed: int, pause: float, until: float,
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.live, self.actions, self.threads, self.seed, self.until = live, actions, threads, seed, until
        self.say, self.services = say, embedded.plan(live.home)
        self.world, self.ledger = World(opens, self._as_role), Ledger()
        self.killer = Killer(live, seed, pause)
        self.jobs: set[psutil.Process] = set()
        self.states: Counter[str] = Counter()
        self.starts: Counter[str] = Counter()
        self.done = threading.Event()

    def play(self) -> list[Check]:
        agent, reviewer = self._prepare()
        judge = Reviewer(reviewer, self.ledger, self.seed)
        agents = [
            threading.Thread(target=self._agent, args=[agent, number, share], daemon=True)
            for number, share in spread(self.actions, self.threads)
        ]
        others = [threading.Thread(target=work, daemon=True) for work in (judge.work, self._note_jobs)]
        strikes = threading.Thread(target=self.killer.work, daemon=True)
        for thread in (*agents, *others, strikes):
            thread.start()
        self._watch(agents)
        if not self._lives():
            raise AssertionError("the instance ended by itself:\n" + "".join(self.live.lines[-40:]))
        self.killer.stop.set()
        strikes.join()
        self.killer.thaw(now=True)
        self._settle(agent, judge)
        judge.stop.set()
        self.done.set()
        for thread in others:
            thread.join(10)
        return self._count()

    def _prepare(self) -> tuple[Client, Client]:
        """A company's database, tools and rules, an agent and a reviewer."""
        _make_database(self.services)
        address = self.services.postgres_url(user=ISSUER, password=quote(PASSWORD), database="chaos")
        self._manage("secret", "set", "chaos-database", given=address)
        self._manage("user", "create", "rita", "--groups", "reviewers")
        file = self.live.home / "chaos.yaml"
        world = {"agents": [AGENT], "tools": [dict(kind.tool) for kind in KINDS], "rules": RULES}
        file.write_text(json.dumps(world))
        self._manage("apply", str(file))
        key = self._manage("agent", "create", "chaos-bot").split()[-1]
        token = self._manage("token", "create", "rita").split()[-1]
        return Client(self.live.url, key), Client(self.live.url, token)

    def _manage(self, *words: str, given: str = "") -> str:
        return self.live.manage(*words, given=given).stdout

    def _agent(self, client: Client, number: int, share: Iterator[int]) -> None:
        try:
            Agent(client, self.world, self.ledger, self.seed * 1000 + number, until=self.until).work(share)
        except Exception as error:  # noqa: BLE001 - told in the table: an agent that gives up is a finding
            self.ledger.contradiction(f"agent {number} gave up: {type(error).__name__}: {error}")

    def _watch(self, agents: list[threading.Thread]) -> None:
        told = 0.0
        for thread in agents:
            while thread.is_alive() and time.monotonic() < self.until and self._lives():
                thread.join(1)
                if time.monotonic() > told + 20:
                    told = time.monotonic()
                    self.say(f"  {len(self.ledger.proposed)} of {self.actions}; struck {sum(self.killer.struck.values())} times")

    def _lives(self) -> bool:
        """Whether the instance as a whole still runs; nobody strikes that."""
        return self.live.process is not None and self.live.process.poll() is None

    def _note_jobs(self) -> None:
        """Every process that a worker has started, to be asked for at the end."""
        while not self.done.wait(0.2):
            for name in ("worker-1", "worker-2"):
                with contextlib.suppress(AssertionError, psutil.Error):
                    self.jobs.update(self.live.child(name).children(recursive=True))

    def _settle(self, agent: Client, judge: Reviewer) -> None:
        """Wait until nothing is open and every grant has ended, as long as the longest of them lives."""
        deadline = time.monotonic() + SETTLE_SECONDS
        self.say("  letting it settle")
        while time.monotonic() < deadline and not self._settled():
            time.sleep(0.5)

    def _settled(self) -> bool:
        try:
            with self._database() as database:
                query = (
                    "SELECT (SELECT count(*) FROM approvals_action WHERE NOT state = ANY(%s)"
                    " OR (state = 'interrupted' AND idempotent)),"
                    " (SELECT count(*) FROM policies_grant WHERE state <> 'revoked')"
                )
                return database.execute(query, [list(FINAL)]).fetchone() == (0, 0)
        except psycopg.Error:
            return False

    def _count(self) -> list[Check]:
        with self._database() as database:
            self.states.update(row[0] for row in database.execute("SELECT state FROM approvals_action"))
            for item in self.ledger.proposed:
                self.starts[item.kind.name] += item.kind.starts(self.world, item.id, item.mark)
            checks = counting.of_actions(self.ledger, self.world, database)
            checks += counting.of_remains(self.live, database)
        if self.world.opens.overflown:
            checks.append(Check("the observer saw everything", "", ("inotify's queue ran over",)))
        return checks

    def _database(self) -> psycopg.Connection[Any]:
        return psycopg.connect(_admin(self.services, "agentsec"), autocommit=True, connect_timeout=5)

    def _as_role(self, told: Answer) -> str:
        return self.services.postgres_url(
            user=told["username"], password=quote(told["password"]), database=told["database"]
        )


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
