"""`manage.py up`: a clean instance, in this terminal, until Ctrl-C."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from agentsec_site import packages, startup, supervisor
from agentsec_site.embedded import say
from agentsec_site.management.base import AgentsecCommand

# The command that prints what to open on a first start: the one-time link of the first administrator.
FIRST_LINK = "first_link"
COMMANDS = Path(__file__).resolve().parent


def add_server_arguments(parser: CommandParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", default=8000, type=int, help="port to listen on, 0 for any (default: %(default)s)"
    )
    parser.add_argument(
        "--workers", default=2, type=int, help="how many worker processes (default: %(default)s)"
    )


class Command(AgentsecCommand):
    help = (
        "Run an instance: web, workers, sequencer and clock, with its own PostgreSQL and Valkey unless given."
    )

    def arguments(self, parser: CommandParser) -> None:
        add_server_arguments(parser)

    def run(self, **options: Any) -> None:
        packages.install(packages.missing_for_demo(), say=say)
        plan = supervisor.Plan(
            root=startup.home_folder(),
            host=options["host"],
            port=options["port"],
            workers=options["workers"],
            began=startup.began(),
            link=(FIRST_LINK,) if (COMMANDS / f"{FIRST_LINK}.py").exists() else (),
        )
        supervisor.run(plan)
