"""`manage.py apply FILE`: agents, tools, rules and cases as a file says, checked, applied and published."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from agentsec_site.management.base import AgentsecCommand
from policies import sets, world, yamlfile
from policies.access import OPERATOR


class Command(AgentsecCommand):
    help = (
        "Apply a world file: agents, tools, rules and cases. All of it is applied and published, or, where "
        "anything in it is wrong, nothing. The name of a rule set that ships (see --list) adds that set to "
        "what stands here; `-` is standard input."
    )

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", nargs="?", help="a world file (YAML), a set, or `-`")
        parser.add_argument("--list", action="store_true", help="list the rule sets that ship")
        parser.add_argument("--approvers", metavar="GROUP", default="", help="whom a set's rules ask")
        clash = parser.add_mutually_exclusive_group()
        clash.add_argument("--replace", action="store_true", help="put the set's over what differs")
        clash.add_argument("--keep", action="store_true", help="leave what differs as it is")

    def run(self, **options: Any) -> None:
        if options["list"]:
            self.stdout.write("\n".join(_listed(found) for found in sets.told()))
        elif not options["file"]:
            raise CommandError("name a world file, a set (see --list), or - for standard input")
        elif options["file"] in sets.names():
            self.begin(unless=options["file"] == world.STARTER)
            chosen = {name: options[name] for name in ("approvers", "replace", "keep")}
            self.tell(sets.apply(options["file"], by=OPERATOR, **chosen))
        else:
            _refuse_choices(options)
            text = _read(options["file"])
            self.begin()
            self.tell(world.apply(text, by=OPERATOR))

    def begin(self, *, unless: bool = False) -> None:
        """A new instance has the starter set before anything else, whatever that is."""
        if not unless and world.begin() is not None:
            self.stdout.write("A new instance: it began with the starter set.")

    def tell(self, report: world.Report) -> None:
        for line in report.changes:
            self.stdout.write(line)
        for line in report.warnings:
            self.stderr.write(f"note: {line}")
        self.stdout.write(_closing(report))


def _listed(found: sets.Told) -> str:
    state = "applied" if found.there == found.items else f"{found.there} of {found.items} here"
    more = f", {found.other} otherwise" if found.other else ""
    return f"{found.name:<10}  {found.what}. ({state if found.there or found.other else 'not applied'}{more})"


def _refuse_choices(options: dict[str, Any]) -> None:
    given = [f"--{name}" for name in ("approvers", "replace", "keep") if options[name]]
    if given:
        raise CommandError(f"{', '.join(given)} is for the sets that ship: {', '.join(sets.names())}")


def _closing(report: world.Report) -> str:
    if report.published is not None:
        return f"Published as release {report.published}."
    return report.draft or ("Applied." if report.changes else "Nothing to change.")


def _read(name: str) -> str:
    try:
        raw = sys.stdin.buffer.read(yamlfile.MAX_BYTES + 1) if name == "-" else Path(name).read_bytes()
        return raw.decode("utf-8")
    except OSError as error:
        raise CommandError(f"{name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise CommandError(f"{name} is not UTF-8: byte {error.start} is no part of a character") from None
