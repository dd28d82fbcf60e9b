"""What has to happen because time passes: each tick a name, a period in seconds and a verb.

Every verb is safe to run on several hosts at once (guarded updates, row locks), and its failure stops
neither the others nor the next round: it is logged, and tried again after its period.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.db import close_old_connections
from django.utils import timezone

from policies import grants

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tick:
    """One thing to do every `seconds`."""

    name: str
    seconds: float
    verb: Callable[[], object]


def _reap_grants() -> object:
    return grants.reap(timezone.now())


TICKS: tuple[Tick, ...] = (Tick("end grants whose time is over", 1.0, _reap_grants),)


def run(stop: threading.Event, ticks: Sequence[Tick] = TICKS) -> None:
    """Run the ticks, each when it is due, until `stop` is set."""
    due = dict.fromkeys(ticks, 0.0)
    while ticks and not stop.is_set():
        tick = min(due, key=lambda each: due[each])
        if stop.wait(max(0.0, due[tick] - time.monotonic())):
            return
        run_once(tick)
        due[tick] = time.monotonic() + tick.seconds


def run_once(tick: Tick) -> None:
    close_old_connections()
    try:
        tick.verb()
    except Exception:  # one broken verb must not stop the others
        logger.exception("clock: %s failed", tick.name)
