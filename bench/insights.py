"""The insights page over a month of calls, and fifty decisions at once.

    manage.py bench insights [CALLS]        (default: 100000)

On a PostgreSQL of its own a company's last month is made up (see `bench/history.py`), and people who decided
what it asked. Then, through the whole web stack but the socket, in milliseconds:

    page       the insights page of an administrator, by rule, group, agent and tool; goal: below 300
    bulk       fifty like calls approved by one person in one request; goal: below 2000
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from bench import instance


def main(words: Sequence[str]) -> None:
    calls = int(words[0]) if words else 100_000
    with instance.fresh():
        # Loaded by name: its models need the settings, which need the instance.
        importlib.import_module("bench.insights_run").run(calls)
