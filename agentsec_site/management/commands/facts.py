"""`manage.py facts`: the words that a rule's condition may use, as the documentation prints them."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from agentsec_site.embedded import REPOSITORY
from agentsec_site.management.base import AgentsecCommand
from policies import vocabulary

PAGE = REPOSITORY / "docs" / "policies.md"


class Command(AgentsecCommand):
    help = "Print the facts and functions that conditions may use, as Markdown tables."

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--write", action="store_true", help="renew the tables in docs/policies.md instead"
        )

    def run(self, **options: Any) -> None:
        if not options["write"]:
            self.stdout.write(vocabulary.markdown())
            return
        try:
            PAGE.write_text(vocabulary.replaced(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
        except (OSError, ValueError) as error:
            raise CommandError(f"{PAGE}: {error}") from None
        self.stdout.write("docs/policies.md tells the facts as they are.")
