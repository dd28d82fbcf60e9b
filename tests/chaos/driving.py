"""Agents that propose and come back for their answers, and a reviewer who decides, whatever dies."""

from __future__ import annotations

import http.client
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg

from agentsec_site.demo.client import Client, Problem
from tests.chaos.kinds import Kind, World

# What a client sees of a server that is gone, or whose database is: it comes again.
AWAY = (OSError, http.client.HTTPException, ValueError)
PAUSE = 0.25
PATIENCE = 600.0  # seconds that an agent gives one answer, and one call to come to its end
FORGOTTEN = "forgotten by its agent"
FINAL = ("blocked", "succeeded", "failed", "interrupted", "rejected", "expired", "cancelled")


@dataclass
class Proposed:
    """One call that was accepted, at `at` (seconds since the epoch). `asked` says that people decide, `state`
    what its agent was told last, `again` how often a reviewer asked for new votes.
    """

    id: str
    session: str
    call: str
    kind: Kind
    mark: str
    args: dict[str, Any]
    asked: bool
    not_before: datetime | None = None
    state: str = ""
    again: int = 0
    at: float = field(default_factory=time.time)

    def __str__(self) -> str:
        return f"{self.kind.name} {self.id[:8]}"


@dataclass
class Ledger:
    """What the drivers saw; `odd` are answers that contradict each other."""

    proposed: list[Proposed] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    outages: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, proposal: Proposed) -> None:
        with self.lock:
            self.proposed.append(proposal)

    def outage(self) -> None:
        with self.lock:
            self.outages += 1

    def contradiction(self, why: str) -> None:
        with self.lock:
            self.odd.append(why)


def patiently(work: Callable[[], Any], ledger: Ledger, *, until: float) -> Any:
    """The answer of `work`, which is asked again as long as nobody is there. Raises TimeoutError."""
    while time.monotonic() < until:
        try:
            return work()
        except Problem as problem:
            if problem.status < 500 and problem.status != 429:
                raise
        except AWAY:
            pass
        ledger.outage()
        time.sleep(PAUSE)
    raise TimeoutError("nobody answered in time")


class Agent:
    """One thread's agent. It proposes no call without knowing what became of the one before, unless it
    forgets it: once in so many grants nobody reports what came of it.
    """

    def __init__(
        self,
        client: Client,
        world: World,
        kinds: Sequence[Kind],
        ledger: Ledger,
        seed: int,
        *,
        forgets: float,
    ) -> None:
        self.client, self.world, self.kinds, self.ledger = client, world, kinds, ledger
        self.chance, self.forgets = random.Random(seed), forgets

    def work(self, numbers: Iterator[int]) -> None:
        session = str(self._ask(lambda: self.client.open_session(purpose="chaos")))
        for number in numbers:
            kind = self.kinds[number % len(self.kinds)]
            self._follow(self._propose(session, kind))

    def _ask(self, work: Callable[[], Any]) -> Any:
        return patiently(work, self.ledger, until=time.monotonic() + PATIENCE)

    def _propose(self, session: str, kind: Kind) -> Proposed:
        mark, call, asked = kind.marks(self.world), uuid4().hex, self.chance.random() < 0.5
        args = kind.args(mark, asked)
        at = datetime.now(UTC) + timedelta(seconds=kind.ahead) if kind.ahead else None
        more = {"not_before": at.isoformat()} if at is not None else {}
        told = self._ask(lambda: self.client.propose(session, kind.name, args, tool_call_id=call, **more))
        proposal = Proposed(str(told["id"]), session, call, kind, mark, args, asked, at)
        self.ledger.note(proposal)
        self._seen(proposal, told)
        return proposal

    def _follow(self, proposal: Proposed) -> None:
        until = time.monotonic() + PATIENCE
        while proposal.state not in (*FINAL, FORGOTTEN) and time.monotonic() < until:
            # Half of the time as an agent that lost its memory: the same call, proposed anew.
            anew = self.chance.random() < 0.5
            told = self._ask(lambda anew=anew: self._again(proposal) if anew else self._poll(proposal))
            self._seen(proposal, told)

    def _again(self, proposal: Proposed) -> Any:
        return self.client.propose(
            proposal.session, proposal.kind.name, proposal.args, tool_call_id=proposal.call, wait=5
        )

    def _poll(self, proposal: Proposed) -> Any:
        return self.client.call("GET", f"/actions/{proposal.id}?wait=5")

    def _seen(self, proposal: Proposed, told: dict[str, Any]) -> None:
        if str(told["id"]) != proposal.id:
            self.ledger.contradiction(f"{proposal.id} was answered as {told['id']}")
        proposal.state = told["state"]
        if told.get("grant") and proposal.kind.act is not None:
            self._act(proposal, told)

    def _act(self, proposal: Proposed, told: dict[str, Any]) -> None:
        """Act under the grant and report what came of it."""
        assert proposal.kind.act is not None
        try:
            said = proposal.kind.act(self.world, told)
        except psycopg.Error as error:
            said = f"the database said no: {type(error).__name__}"
        if self.chance.random() < self.forgets:
            proposal.state = FORGOTTEN
            return
        try:
            told = self._ask(lambda: self.client.report(proposal.id, "succeeded", said))
        except Problem as problem:
            # It was reported by the request before, whose answer died, or its time was over.
            if problem.status not in (409, 410):
                raise


class Reviewer:
    """Approves most of what waits, rejects some, and has some of what was interrupted asked again."""

    def __init__(self, client: Client, ledger: Ledger, seed: int) -> None:
        self.client, self.ledger, self.chance = client, ledger, random.Random(seed)
        self.stop = threading.Event()

    def work(self) -> None:
        while not self.stop.wait(0.3):
            try:
                for item in self.client.call("GET", "/inbox?limit=100")["actions"]:
                    self._decide(item)
                self._again()
            except Problem as problem:
                if problem.status < 500 and problem.status not in (409, 429):
                    self.ledger.contradiction(f"the reviewer was told {problem}")
            except AWAY:
                self.ledger.outage()

    def _decide(self, item: dict[str, Any]) -> None:
        verdict = "approve" if self.chance.random() < 0.85 else "reject"
        body = {"verdict": verdict, "digest": item["digest"], "comment": "as the dice say"}
        try:
            self.client.call("POST", f"/actions/{item['id']}/decision", body)
        except Problem as problem:
            if problem.status != 409:
                raise

    def _again(self) -> None:
        with self.ledger.lock:
            known = list(self.ledger.proposed)
        for proposal in known:
            # Of what its agent would have to take again nobody would.
            lost = proposal.state == "interrupted" and proposal.kind.act is None
            if not lost or proposal.again or not proposal.asked:
                continue
            proposal.again = 1
            try:
                self.client.call("POST", f"/actions/{proposal.id}/again")
            except Problem as problem:
                if problem.status != 409:
                    raise


class Countdown:
    """Numbers dealt out to several threads until there are no more, or until somebody ends it."""

    def __init__(self, total: int) -> None:
        self._numbers, self._lock = iter(range(total)), threading.Lock()

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        with self._lock:
            return next(self._numbers)


def spread(total: int, threads: int) -> Iterator[tuple[int, Countdown]]:
    """For each thread its number and the numbers it shares with the others."""
    shared = Countdown(total)
    return zip(range(threads), itertools.repeat(shared), strict=False)
