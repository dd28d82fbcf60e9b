"""`manage.py sequencer`: takes entries into the log's tree and signs checkpoints."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.conf import settings

from agentsec_site.management.base import AgentsecCommand
from traces import sequencer


class Command(AgentsecCommand):
    help = "Lead the log, or stand by to lead it, until stopped."

    def run(self, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        sequencer.run(stop, settings.AGENTSEC_DATABASE_URL)
