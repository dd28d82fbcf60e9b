"""How long a backtest takes: real stored calls of a month, judged again by drafts, on an instance of its own.

    manage.py bench backtest [CALLS]        (default: 100000)

Makes a company with 20 agents, 40 tools and the starter set beside 100 rules, of which about 13 apply to a
call, publishes it, and stores so many calls with their facts and verdicts (`history.py`). Then each draft is
tried as the page tries it: started, and worked off in steps of a second, each of which keeps its progress in
the database. The drafts, each on top of the one before: `one`, `ten` and then `every` rule changed, and a
label given to every tool, so that no call is passed over whatever the rules.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from typing import Any

from bench import instance

GOAL = 30.0


def main(words: Sequence[str]) -> None:
    calls = int(words[0]) if words else 100_000
    with instance.fresh():
        # Loaded by name: its models need the settings, which need the instance.
        importlib.import_module("bench.backtest_run").run(calls)


def timed(act: Any) -> tuple[Any, float, float]:
    """What it gives, seconds by the clock on the wall, and seconds that this process computed."""
    wall, computed = time.perf_counter(), time.process_time()
    given = act()
    return given, time.perf_counter() - wall, time.process_time() - computed
