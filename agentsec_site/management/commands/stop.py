"""`manage.py stop SCOPE --reason WHY`: throw the kill switch."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from agentsec_site.management.base import AgentsecCommand
from approvals import killswitch
from policies.access import OPERATOR


class Command(AgentsecCommand):
    help = "Stop everything, one agent, one group's agents or one tool, now, until it is resumed."

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("scope", metavar="SCOPE", help="all, agent:NAME, group:NAME or tool:NAME")
        parser.add_argument("--reason", required=True, metavar="WHY", help="told to whoever is stopped")

    def run(self, **options: Any) -> None:
        switch = killswitch.throw(scope=options["scope"], reason=options["reason"], by=OPERATOR)
        self.stdout.write(f"Stopped: {switch.scope}. `manage.py resume {switch.scope}` lets it run again.")
