"""The part of `bench/backtest.py` that needs a running instance."""

from __future__ import annotations

from collections.abc import Callable

from approvals import backtest
from approvals.backtest import Progress
from bench import history
from bench.backtest import GOAL, timed
from policies.models import Rule, Tool
from policies.releases import Active


def run(calls: int) -> None:
    active = history.found_company()
    written, took, _ = timed(lambda: history.write(calls, active=active))
    print(
        f"{calls:,} calls stored in {took:.0f} s: {written / calls / 1000:.1f} kB of facts and verdict each"
    )
    print(f"{'draft':>8} {'seconds':>8} {'cpu':>6} {'/ goal':>7} {'steps':>6} {'otherwise':>10}")
    for name, change in DRAFTS.items():
        change(active)
        (done, steps), seconds, computed = timed(tried)
        found = done.difference
        if found.judged != calls or found.unread:
            raise SystemExit(f"{found.judged} of {calls} calls judged, {found.unread} unread")
        ratio = seconds / GOAL * 100_000 / calls
        print(
            f"{name:>8} {seconds:8.1f} {computed:6.1f} {ratio:7.2f} {steps:6} {found.changed:10}", flush=True
        )
    print(f"\nThe goal: 100,000 calls in {GOAL:.0f} s; / goal is by the clock, for 100,000.")


def tried() -> tuple[Progress, int]:
    """The draft as it is now, tried from beginning to end; how many steps it took."""
    row = backtest.start(days=30, by="bench")
    steps, done = 1, backtest.step(backtest_id=row.pk)
    while not done.done:
        before = done.percent
        steps, done = steps + 1, backtest.step(backtest_id=row.pk)
        if done.percent < before:
            raise SystemExit(f"the progress went back from {before} to {done.percent} %")
    return done, steps


def rules(every: int) -> Callable[[Active], None]:
    def change(active: Active) -> None:
        for made in history.shifted(active, every=every):
            Rule.objects.filter(name=made["name"]).update(when=made["when"])

    return change


def tools(active: Active) -> None:
    Tool.objects.update(labels=["tried"])


# Each adds to the one before.
DRAFTS: dict[str, Callable[[Active], None]] = {
    "one": rules(100), "ten": rules(10), "every": rules(1), "tools": tools,
}  # fmt: skip
