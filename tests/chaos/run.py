"""One run of chaos, from an empty home to the counted end."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from tests.chaos.kinds import DATABASE, SECRET, Answer, Kind, World, asking, kinds
from tests.chaos.opens import Opens
from tests.chaos.service import KEY, Service, serving
from tests.live import Live, make_home

AGENT = {"name": "chaos-bot", "mode": "standard", "limits": {"actions_per_minute": 100_000, "pending": 5000}}
SETTLE_SECONDS = 240.0
WORKERS = ("worker-1", "worker-2")


@dataclass
class Report:
    """What came of a run: promises, blows, what processes complained about, and how long it took. `pauses`
    are the seconds from each blow, by its name, to the next call that was accepted, and to the next start.
    """

    checks: list[Check]
    struck: Counter[str]
    states: Counter[str]
    starts: Counter[str]
    complaints: Counter[str]
    pauses: Mapping[str, Sequence[float]]
    seconds: float = 0.0

    @property
    def held(self) -> bool:
        return all(check.held for check in self.checks)


@dataclass
class Chaos:
    """A running instance with agents, a reviewer and observers; `say` hears how far it is."""

    live: Live
    opens: Opens
    service: Service
    say: Callable[[str], None]
    before: Surroundings
    folder: Path
    ledger: Ledger = field(default_factory=Ledger)
    jobs: set[psutil.Process] = field(default_factory=set)
    shared: set[str] = field(default_factory=set)
    done: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.services = embedded.plan(self.live.home)
        self.world = World(self.opens, self.service, self._as_role)
        self.kinds = kinds(self.service)
        self.agent, self.reviewer = self._prepare()

    def play(
        self, *, actions: int, threads: int, seed: int, pause: float, every: int, forgets: float
    ) -> Report:
        """Let agents propose while everything is struck, settle, and count. `pause` is the least time between
        two blows, in seconds, and `every` how many calls are accepted between them, both on average;
        `forgets` is how often an agent never reports.
        """
        judge = Reviewer(self.reviewer, self.ledger, seed)
        killer = Killer(self.live, seed, pause, every, lambda: len(self.ledger.proposed))
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
        report.checks += counting.of_machine(self.live, self.before, self.folder, self.jobs, self.shared)

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
        self.live.manage("secret", "set", DATABASE, given=address)
        self.live.manage("secret", "set", SECRET, given=KEY)
        self.live.manage("user", "create", "rita", "--groups", "reviewers")
        file = self.live.home / "chaos.yaml"
        world = {
            "agents": [AGENT],
            "tools": [dict(kind.tool) for kind in self.kinds],
            "rules": _rules(self.kinds),
        }
        file.write_text(json.dumps(world))
        self.live.manage("apply", str(file))
        key = self.live.manage("agent", "create", "chaos-bot").stdout.split()[-1]
        token = self.live.manage("token", "create", "rita").stdout.split()[-1]
        return Client(self.live.url, key), Client(self.live.url, token)

    def _drive(self, share: Iterator[int], seed: int, forgets: float) -> None:
        try:
            Agent(self.agent, self.world, self.kinds, self.ledger, seed, forgets=forgets).work(share)
        except Exception as error:  # noqa: BLE001 - told in the table: an agent that gives up is a finding
            self.ledger.contradiction(f"an agent gave up: {type(error).__name__}: {error}")

    def _watch(self, agents: list[threading.Thread], actions: int, killer: Killer) -> None:
        began = told = time.monotonic()
        for thread in agents:
            while thread.is_alive():
                thread.join(0.25)
                if self.live.process is None or self.live.process.poll() is not None:
                    raise AssertionError("the instance ended by itself:\n" + "".join(self.live.lines[-40:]))
                if time.monotonic() > told + 20:
                    told = time.monotonic()
                    self.say(_so_far(len(self.ledger.proposed), actions, told - began, len(killer.blows)))

    def _note_jobs(self) -> None:
        """Every process that a worker has started, to be asked for at the end."""
        while not self.done.wait(0.2):
            for name in WORKERS:
                with contextlib.suppress(AssertionError, psutil.Error):
                    self.jobs.update(self.live.child(name).children(recursive=True))

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
        with psycopg.connect(_admin(self.services, "chaos")) as company:
            self.world.read_rows(company)
        with self.database() as database:
            counted = Counted.read(self.ledger, self.world, database)
            checks = [*counting.of_actions(self.ledger, counted), *counting.of_remains(self.live, database)]
            pauses = counting.pauses(self.ledger, killer.blows, database)
        checks.append(counting.of_times(self.ledger, self.world))
        checks.append(Check("a secret came where it belongs", "", tuple(self.service.odd)))
        for item in counted.proposed:
            starts[item.kind.name] += counted.seen[item.id]
        if self.opens.overflown:
            checks.append(Check("the observer saw everything", "", ("inotify's queue ran over",)))
        return Report(checks, killer.struck, Counter(counted.states.values()), starts, Counter(), pauses)

    def _as_role(self, told: Answer) -> str:
        return self.services.postgres_url(
            user=told["username"], password=quote(told["password"]), database=told["database"]
        )


@contextlib.contextmanager
def chaos(say: Callable[[str], None] = print, *, home: Callable[[], Path] = make_home) -> Iterator[Chaos]:
    """An instance to be struck, in the home that `home` makes; removed at the end, whatever happened."""
    before, folder, opens = Surroundings.now(), Path(tempfile.mkdtemp(prefix="agentsec-chaos-")), Opens()
    # What a crash of PostgreSQL may not lose must have been written: tests switch that off.
    with serving() as service:
        live = Live(
            home=home(),
            environment={
                "AGENTSEC_EMBEDDED_FSYNC": "on", "AGENTSEC_FETCH_ALLOW": service.entry, "TMPDIR": str(folder)
            },
        )  # fmt: skip
        try:
            live.start()
            say(f"An instance runs in {live.home} ({live.seconds:.0f} s).")
            yield Chaos(live, opens, service, say, before, folder)
        finally:
            live.remove()
            opens.close()
            shutil.rmtree(folder)


def run(
    *, actions: int, threads: int, seed: int, pause: float, every: int, logs: Path | None = None,
    say: Callable[[str], None] = print,
) -> Report:  # fmt: skip
    """The long form: start, strike, settle, count, remove. What its processes wrote is kept in `logs`."""
    began = time.monotonic()
    with chaos(say) as made:
        try:
            report = made.play(
                actions=actions, threads=threads, seed=seed, pause=pause, every=every, forgets=0.02
            )
            made.end(report)
        finally:
            if logs is not None:
                shutil.copytree(made.live.home / "logs", logs, dirs_exist_ok=True)
    report.seconds = time.monotonic() - began
    return report


def _rules(every: Sequence[Kind]) -> list[dict[str, Any]]:
    """Of each kind some calls are allowed, the others asked."""
    rules: list[dict[str, Any]] = []
    for asked in sorted({asking(kind) for kind in every}):
        rule = {
            "name": f"chaos-{len(rules)}",
            "tools": [kind.name for kind in every if asking(kind) == asked],
        }
        rules += [
            rule | {"name": f"{rule['name']}-allowed", "effect": "allow", "when": f"!({asked})"},
            rule | {
                "name": f"{rule['name']}-asked", "effect": "ask", "when": asked, "approvers": "reviewers",
                "expires_after": "1h",
            },
        ]  # fmt: skip
    return rules


def _so_far(done: int, of: int, seconds: float, blows: int) -> str:
    """How far it is, and how long the rest takes at this pace."""
    left = f", about {seconds / done * (of - done) / 60:.0f} min to go" if done else ""
    return f"  {seconds / 60:5.1f} min: {done} of {of} actions, {blows} blows{left}"


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
        connection.execute("CREATE TABLE marks (mark text NOT NULL)")
        connection.execute(f"GRANT INSERT ON marks TO {ISSUER} WITH GRANT OPTION")
        connection.execute(f"GRANT SELECT ON invoices, salaries TO {ISSUER} WITH GRANT OPTION")
