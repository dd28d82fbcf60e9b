"""`manage.py apply FILE`: agents, tools, rules and cases as a file says, checked, applied and published."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from agentsec_site.management.base import AgentsecCommand
from policies import world, yamlfile
from policies.access import OPERATOR


class Command(AgentsecCommand):
    help = (
        "Apply a world file: agents, tools, rules and cases. All of it is applied and published, or, where "
        "anything in it is wrong, nothing. `starter` stands for the starter set, `-` for standard input."
    )

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", help="a world file (YAML), `starter`, or `-`")

    def run(self, **options: Any) -> None:
        text = _read(options["file"])
        if world.begin() is not None and text != world.STARTER:
            self.stdout.write("A new instance: it began with the starter set.")
        report = world.apply(text, by=OPERATOR)
        for line in report.changes:
            self.stdout.write(line)
        for line in report.warnings:
            self.stderr.write(f"note: {line}")
        self.stdout.write(_closing(report))


def _closing(report: world.Report) -> str:
    if report.published is not None:
        return f"Published as release {report.published}."
    return report.draft or ("Applied." if report.changes else "Nothing to change.")


def _read(name: str) -> str:
    if name == world.STARTER:
        return name
    try:
        raw = sys.stdin.buffer.read(yamlfile.MAX_BYTES + 1) if name == "-" else Path(name).read_bytes()
        return raw.decode("utf-8")
    except OSError as error:
        raise CommandError(f"{name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise CommandError(f"{name} is not UTF-8: byte {error.start} is no part of a character") from None
