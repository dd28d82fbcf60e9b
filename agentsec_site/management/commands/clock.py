"""`manage.py clock`: expiry, sweeping and whatever else time brings."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from agentsec_site.management.base import AgentsecCommand
from approvals import clock, growth, reaper
from approvals.notify import sending


class Command(AgentsecCommand):
    help = "Do what is due (expiry, recovery, rotation) until stopped."

    def run(self, **options: Any) -> None:
        stop = threading.Event()

        def end(number: int, frame: FrameType | None) -> None:
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)
        # Cut short it loses nothing: what it did not commit is done by the next one.
        slow = threading.Thread(target=growth.run, args=(stop,), name="growth", daemon=True)
        slow.start()
        senders = sending.start(stop)
        reaping = reaper.start(stop)
        clock.run(stop, apart=(clock.reap,))
        for thread in (slow, reaping, *senders):
            thread.join(5)
