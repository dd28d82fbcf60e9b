"""`manage.py propose-tools FILE`: a world file of tool definitions, guessed from a list of tool schemas."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from agentsec_site.management.base import AgentsecCommand
from policies import proposing, values
from policies.values import ArgumentsRefused


class Command(AgentsecCommand):
    help = (
        "Guess tool definitions from names, descriptions and schemas: MCP's tools/list, OpenAI's or "
        "Anthropic's tools, JSON Schemas. Prints a world file for you to review and apply; changes nothing."
    )

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", help="JSON with the tools, or `-` for standard input")

    def run(self, **options: Any) -> None:
        self.stdout.write(proposing.world_file(proposing.propose(_read(options["file"]))))


def _read(name: str) -> Any:
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return values.parse_json(raw, max_bytes=1 << 24)
    except OSError as error:
        raise CommandError(f"{name} cannot be read: {error.strerror}") from None
    except ArgumentsRefused as refused:
        raise CommandError(f"{name}: {refused.detail}") from None
