"""`manage.py rollback [RELEASE]`: the releases, or the way back to one of them."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from agentsec_site.management.base import AgentsecCommand
from policies import history, restoring
from policies.access import OPERATOR


class Command(AgentsecCommand):
    help = "Make an earlier release the draft and publish it again; without a number, list the releases."

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("release", nargs="?", type=int, metavar="RELEASE", help="its number")
        parser.add_argument("--note", default="", metavar="WHY", help="for those who read the log")
        parser.add_argument(
            "--despite", action="append", default=[], metavar="CASE", help="put up with this failing case"
        )

    def run(self, **options: Any) -> None:
        if options["release"] is None:
            self.list()
            return
        done = restoring.roll_back(
            release_id=options["release"], by=OPERATOR, note=options["note"], despite=options["despite"]
        )
        for line in done.changed:
            self.stdout.write(line)
        again = f"release {options['release']} again."
        self.stdout.write(f"Published as release {done.release.pk}: {again}" if done.release else done.why)

    def list(self) -> None:
        for told in history.listed()[0]:
            row, counts = told.release, ", ".join(f"{count} {lean}" for lean, count in told.difference.counts)
            said = told.altered or counts or "nothing changed"
            self.stdout.write(f"{row.pk}  {row.digest[:12]}  {row.published_at:%Y-%m-%d %H:%M} UTC  {said}")
