"""`manage.py dump`: this instance's agents, tools, rules and cases as a world file."""

from __future__ import annotations

from typing import Any

from agentsec_site.management.base import AgentsecCommand
from policies import world


class Command(AgentsecCommand):
    help = (
        "Print agents, tools, rules and cases (drafts included) as a world file, which `apply` takes. "
        "People, keys and secrets are not in it."
    )

    def run(self, **options: Any) -> None:
        self.stdout.write(world.dump(), ending="")
