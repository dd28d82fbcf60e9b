"""The inbox with ten thousand actions waiting: server time of its first page, and what a browser makes of it.

    manage.py bench inbox [WAITING] [REQUESTS]        (default: 10000 200)

On an instance of its own, with statistics as autovacuum leaves them. A page is timed through the site's
whole stack of middleware, without the socket to the browser. `cpu` is the median of what this thread
itself computed: on a busy machine the times on the wall say how busy it is.

Then Chromium shows the list while twenty rows a second come and twenty go: once as it opens, once with
ten pages loaded. Told are its longest task (PerformanceObserver, which sees those of 50 ms and more) and
how many changes of the list (MutationObserver) a row took, which must not grow with the list.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from bench import instance

WAITING, REQUESTS = 10_000, 200
SECONDS = 12.0
SHOWN = (30, 300)


def main(words: Sequence[str]) -> None:
    waiting, requests = (int(word) for word in [*words, *map(str, (WAITING, REQUESTS)[len(words) :])])
    with instance.fresh() as home:
        # Loaded by name: its models need the settings, which need the instance.
        run = importlib.import_module("bench.inbox_run")
        run.fill(waiting, home)
        print(f"{waiting} actions wait, {requests} requests\n", flush=True)
        run.report(run.pages(requests))
        browser = importlib.import_module("bench.inbox_browser")
        browser.report(browser.measured(SECONDS, SHOWN))
