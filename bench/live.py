"""One change to a thousand connected reviewers, against the bare `websockets` library in the same run.

    manage.py bench live [SOCKETS] [ROUNDS]        (default: 1000 20)

On an instance of its own (a web process as the supervisor starts it, PostgreSQL and Valkey) every socket
has a person and a sign-in of its own: a fifth each in four approver groups, and a fifth auditors. In each
round an agent's call that asks all four groups is proposed by another process, and the time counts from
the commit of its transaction to the moment when the last socket had the row. Then the rival, a process
with `websockets` and nothing else, broadcasts the same bytes to as many sockets of the same client, and
its time counts from the call of `broadcast`. The client is one process a side and as thin as it can be,
since its time is on both.

Between the commit and the first byte lie: Redis, the row read anew and in the same message the question
whether anything stirred on which it hangs who may listen (where something did, a look at all sockets), and
its partial rendered.
Each audience's frame is made once and handed to the transports as it is.
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
