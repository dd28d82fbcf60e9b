"""One change to a thousand connected reviewers, against the bare `websockets` library in the same run.

manage.py bench live [SOCKETS] [ROUNDS]        (default: 1000 20)
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from bench import instance

SOCKETS, ROUNDS = 1000, 20


def main(words: Sequence[str]) -> None:
    sockets, rounds = (int(word) for word in [*words, *map(str, (SOCKETS, ROUNDS)[len(words) :])])
    with instance.fresh():
        # Loaded by name: its models need the settings, which need the instance.
        run = importlib.import_module("bench.live_run")
        print(f"{sockets} sockets, {rounds} rounds\n", flush=True)
        run.report(run.run(sockets, rounds))
