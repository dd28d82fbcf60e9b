"""`manage.py demo_agents`: what `demo` runs beside an instance. Not meant to be called by people."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from agentsec_site import embedded, startup
from agentsec_site.demo import company, people, play
from agentsec_site.home import SetupError
from agentsec_site.management.base import AgentsecCommand


class Command(AgentsecCommand):
    help = "Parts of the demonstration: fill the instance and print its link, let the agents work."

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("part", choices=["prepare", "run"])
        parser.add_argument("url", nargs="?", default="", help="the instance's address, for run")

    def run(self, **options: Any) -> None:
        if not settings.AGENTSEC_DEMO:
            raise SetupError("this signs anybody in and is for the demonstration only: `manage.py demo`")
        getattr(self, f"_{options['part']}")(options["url"])

    def _prepare(self, url: str) -> None:
        with embedded.running(startup.home_folder()) as services:
            company.prepare(services)
        people.prepare()
        self.stdout.write(people.link())

    def _run(self, url: str) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        play.play(url, people.keys(), settings.HOME / "demo-mail", stop)
