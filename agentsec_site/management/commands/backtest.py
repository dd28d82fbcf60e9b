"""`manage.py backtest`: what the draft would have changed in the calls of the last days."""

from __future__ import annotations

import json
import time
from typing import Any

from django.core.management.base import CommandParser

from agentsec_site.management.base import AgentsecCommand
from approvals import backtest
from approvals.backtest import Progress
from policies.access import OPERATOR
from policies.backtest import Change

DAYS = 30


class Command(AgentsecCommand):
    help = "Judge the calls of the last days by the draft, and print what would have been different."

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, default=DAYS, help=f"how far to look back (default: {DAYS})")
        parser.add_argument("--json", action="store_true", help="print the difference as JSON")

    def run(self, **options: Any) -> None:
        began = time.perf_counter()
        row = backtest.start(days=options["days"], by=OPERATOR)
        done = backtest.step(backtest_id=row.pk)
        while not done.done:
            self.stderr.write(f"{done.percent}% of {row.total} calls", ending="\r")
            self.stderr.flush()
            done = backtest.step(backtest_id=row.pk)
        if options["json"]:
            self.stdout.write(json.dumps(done.difference.to_json()))
            return
        self.tell(done, time.perf_counter() - began)

    def tell(self, done: Progress, seconds: float) -> None:
        found = done.difference
        self.stdout.write(
            f"{found.judged} calls of {span(done)} judged in {seconds:.1f} s: "
            f"{found.same} as they were, {found.changed} otherwise."
        )
        if found.unread:
            self.stdout.write(f"{found.unread} could not be read: {', '.join(found.unread_examples)}")
        rejected = found.changes(rejected=True)
        if rejected:
            self.stdout.write("\nOf the calls that people rejected:")
            self.list(rejected)
        if others := found.changes(rejected=False):
            self.stdout.write("\nOf the others:" if rejected else "")
            self.list(others)

    def list(self, changes: list[Change]) -> None:
        for change in changes:
            group = change.group
            rules = ", ".join(f"{name} ({count})" for name, count in group.now.most_common(5))
            self.stdout.write(f"  {change.before} → {change.after}: {group.count}, by {rules}")
            self.stdout.write(f"      for example {', '.join(group.examples)}")


def span(done: Progress) -> str:
    days = (done.row.until - done.row.since).days
    return f"{days} day{'s' if days != 1 else ''}"
