"""`manage.py first_link`: the one-time link of the first administrator, while there is none."""

from __future__ import annotations

from typing import Any

from agentsec_site.management.base import AgentsecCommand
from policies import people, world


class Command(AgentsecCommand):
    help = "Print the one-time link that creates the first administrator; nothing once there is one."

    def run(self, **options: Any) -> None:
        world.begin()
        link = people.setup_link()
        if link is not None:
            self.stdout.write(
                f"Open this once, within 30 minutes, to become the first administrator: {link.url}"
            )
