"""`manage.py export`: an evidence bundle as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from agentsec_site.management.base import AgentsecCommand
from traces import bundle


class Command(AgentsecCommand):
    help = "Write an evidence bundle about sessions and actions; the log's sequencer must be running (`up`)."

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", type=Path, help="the zip file to write")
        parser.add_argument("ids", metavar="ID", nargs="+", help="sessions and actions")
        parser.add_argument(
            "--since", type=int, action="append", default=[], help="size of a checkpoint the reader remembers"
        )

    def run(self, **options: Any) -> None:
        path: Path = options["file"]
        try:
            path.write_bytes(bundle.export(options["ids"], actor="command:export", since=options["since"]))
        except OSError as error:
            raise CommandError(f"{path} cannot be written: {error.strerror}") from None
        self.stdout.write(f"{path}: verify it with `python3 manage.py verify {path}`")
