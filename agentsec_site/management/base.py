"""What every command of agentsec shares: `--home`, and refusals told in one line."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from agentsec_site.home import SetupError
from traces.problems import Refused


class AgentsecCommand(BaseCommand):
    """Implement `run(**options)` and, where there are arguments, `arguments(parser)`.

    By the time `run` is called the services run, the schema is current and Django is signed in as the app
    role (see `startup.main`). `Refused` and `SetupError` become one line on stderr and exit status 1.
    """

    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--home", metavar="DIR", help="where this instance keeps its state (default: var/)"
        )
        self.arguments(parser)

    def arguments(self, parser: CommandParser) -> None:
        """Declare what the command takes."""

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self.run(**options)
        except Refused as error:
            raise CommandError(error.detail) from None
        except SetupError as error:
            raise CommandError(str(error)) from None

    def run(self, **options: Any) -> None:
        raise NotImplementedError
