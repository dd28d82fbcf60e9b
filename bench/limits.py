"""By how much 64 calls at the same moment pass a limit: by nothing, or this ends with an error.

    manage.py bench limits

On an instance of its own, with real PostgreSQL: for each kind of limit a new crowd of eight agents makes 64
calls through the gateway's own pipeline, each on a thread and a connection of its own, all let go at once.
`over` is how many calls, or how much money, was let in beyond the limit; `short` is how many fewer were let
in than the limit allows, which would be no danger and yet a fault.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from bench import instance


def main(words: Sequence[str]) -> None:
    if words:
        raise SystemExit("bench limits takes no further words")
    with instance.fresh():
        # Loaded by name: its models need the settings, which need the instance.
        importlib.import_module("bench.limits_run").run()
