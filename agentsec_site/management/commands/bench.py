"""`manage.py bench NAME`: measure agentsec; each benchmark is a module in `bench/` with `main(words)`."""

from __future__ import annotations

import importlib
import sys

from django.core.management.base import CommandError

from agentsec_site.embedded import REPOSITORY
from agentsec_site.management.base import AgentsecCommand

NAMES = {
    name: f"bench.{name}"
    for name in (
        "agentdojo",
        "backtest",
        "engine",
        "inbox",
        "insights",
        "killswitch",
        "later",
        "limits",
        "live",
        "provenance",
        "sandbox",
    )
}


class Command(AgentsecCommand):
    help = f"Measure agentsec: {', '.join(NAMES)}. Every further word goes to the benchmark."

    def run_from_argv(self, argv: list[str]) -> None:
        name, *words = argv[2:] or [""]
        if name in ("-h", "--help"):
            self.stdout.write(
                f"usage: manage.py bench {'|'.join(NAMES)} [words of the benchmark]\n{self.help}"
            )
            return
        if name not in NAMES:
            raise CommandError(f"bench {' | '.join(NAMES)}")
        sys.path.insert(0, str(REPOSITORY))
        # Loaded by name: a benchmark starts the services it needs before it loads what needs them.
        importlib.import_module(NAMES[name]).main(words)
