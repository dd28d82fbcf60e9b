"""`manage.py demo`: an instance with teams, rules and scripted agents at work, on this machine only."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from agentsec_site import packages, startup, supervisor
from agentsec_site.embedded import say
from agentsec_site.home import SetupError
from agentsec_site.listening import is_loopback
from agentsec_site.management.base import AgentsecCommand
from agentsec_site.management.commands.up import add_server_arguments

# `demo_agents prepare` fills the instance and prints the sign-in link, `run URL` lets the agents work.
AGENTS = "demo_agents"


class Command(AgentsecCommand):
    help = (
        "Run a demonstration: scripted agents at work, actions waiting, a link that signs in (loopback only)."
    )

    def arguments(self, parser: CommandParser) -> None:
        add_server_arguments(parser)
        parser.add_argument(
            "--idle", action="store_true", help="prepare the company, but let none of its agents act"
        )

    def run(self, **options: Any) -> None:
        if not is_loopback(options["host"]):
            raise SetupError(
                "the demo signs anybody in who opens its link: --host must be a loopback address"
            )
        packages.install(packages.missing_for_demo(), say=say)
        plan = supervisor.Plan(
            root=startup.home_folder(),
            host=options["host"],
            port=options["port"],
            workers=options["workers"],
            began=startup.began(),
            before=(AGENTS, "prepare"),
            extra=() if options["idle"] else ((AGENTS, "run"),),
            demo=True,
        )
        supervisor.run(plan)
