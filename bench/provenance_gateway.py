"""What tracing costs within real proposals, on a real database; see `bench/provenance.py`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any
from uuid import uuid4

from approvals import judging, pipeline
from bench import provenance as made
from bench.timing import Timing
from policies import agents, heard, lookup, sessions, world
from policies.models import Agent, AgentKey, Source
from traces.models import Session

WORLD = """
agents:
  - name: bench
    mode: standard
    limits: {actions_per_minute: 1000000, actions_per_day: 1000000, pending: 1000000}
tools:
  - name: mail.send
    effect: write
    sends: external
    authority: [to]
    parameters: {type: object, properties: {to: {}, subject: {}, body: {}, amount: {}}}
"""
ROUNDS, COLD_ROUNDS = 120, 12


class Meter:
    """Adds up what the wrapped functions took in each call: by the clock, and of this thread's own work."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, float]] = []
        self.wall = self.cpu = self.cpu99 = 0.0

    def wrapped(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
            try:
                return act(*args, **kwargs)
            finally:
                self.wall += (time.perf_counter_ns() - wall) / 1000
                self.cpu += (time.thread_time_ns() - cpu) / 1000

        return timed

    def done(self) -> None:
        self.calls.append((self.wall, self.cpu))
        self.wall = self.cpu = 0.0

    def timing(self) -> Timing:
        (wall, cpu), last = map(sorted, zip(*self.calls, strict=True)), int(len(self.calls) * 0.99)
        self.cpu99 = cpu[last]
        return Timing(wall[len(wall) // 2], wall[last], cpu[len(cpu) // 2])


class Bench:
    """An agent that proposes, and the sessions it does it in."""

    def __init__(self) -> None:
        world.begin()
        world.apply(WORLD, by="bench")
        self.agent = Agent.objects.get(name="bench")
        raw = agents.issue_key(self.agent, ["act", "attest"], by="bench")
        self.key: AgentKey = agents.authenticate_key(raw)  # type: ignore[assignment]

    def opened(self, said: Sequence[lookup.Source]) -> Session:
        session = sessions.open_session(agent=self.agent, key=self.key)
        for source in said:
            say(session, source)
        return session

    def propose(self, session: Session, args: dict[str, Any]) -> None:
        pipeline.propose(
            agent=self.agent, key=self.key, session_id=session.pk, tool="mail.send", args=args, door="bench"
        )


def say(session: Session, source: lookup.Source) -> None:
    """Store a text as `sessions` does once the firewall has read it, which is not what is measured here."""
    fields = [[list(one.path), one.start, one.end, one.key_start, one.key_end] for one in source.fields]
    Source.objects.create(
        session=session, entry=uuid4(), origin=source.origin, kind=source.kind, who=source.who,
        text=source.text, quoted=[list(span) for span in source.quoted], fields=fields,
    )  # fmt: skip


@contextmanager
def metered() -> Iterator[Meter]:
    """Within the block, what `judge` spends on loading and tracing is measured."""
    meter, index, trace = Meter(), judging.heard.index, judging.provenance.trace
    judging.heard.index, judging.provenance.trace = meter.wrapped(index), meter.wrapped(trace)
    try:
        yield meter
    finally:
        judging.heard.index, judging.provenance.trace = index, trace


def report(sizes: Sequence[int]) -> None:
    world.begin()
    bench = Bench()
    for kib in sizes:
        for kind in (*made.PIECES, "list") if kib == max(sizes) else ("mail",):
            show(bench, kib, kind)


def show(bench: Bench, kib: int, kind: str) -> None:
    said = made.session(kib, kind)
    session, calls = bench.opened(said), cycle(made.calls(said).values())
    whole = Meter()
    propose = whole.wrapped(bench.propose)

    def rounds(what: str, count: int, prepare: Callable[[int], object]) -> None:
        with metered() as meter:
            for number in range(count):
                prepare(number)
                propose(session, next(calls))
                meter.done()
                whole.done()
        made.row(kib, kind, what, meter.timing(), meter.cpu99)

    rounds("cold", COLD_ROUNDS, lambda number: heard.shelf.clear())
    whole.calls.clear()
    rounds("warm", ROUNDS, lambda number: None)
    made.row(kib, kind, "propose", whole.timing(), whole.cpu99)
    more = made.session(4 * ROUNDS, "mail")
    rounds("said", ROUNDS, lambda number: say(session, more[number]))
