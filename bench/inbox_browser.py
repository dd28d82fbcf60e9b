"""The part of `bench/inbox.py` in Chromium: a long list while twenty rows a second come and twenty go."""

from __future__ import annotations

import contextlib
import copy
import random
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connections, transaction
from django.utils import timezone
from playwright.sync_api import CDPSession, Page, sync_playwright

from agentsec_site import packages
from approvals import states
from approvals.models import Action
from bench import live_run
from policies.models import User

RATE = 20  # rows a second, each way
GOAL_MS = 50.0
WATCH = """() => {
    const told = window.told = { operations: 0, rows: 0, long: [], cls: 0 };
    new MutationObserver((all) => {
        for (const { type, addedNodes, removedNodes } of all) {
            told.operations += type === "childList" ? addedNodes.length + removedNodes.length : 1;
        }
    }).observe(document.getElementById("list"), { childList: true, subtree: true, attributes: true });
    new PerformanceObserver((found) => told.long.push(...found.getEntries().map((one) => one.duration)))
        .observe({ type: "longtask" });
    document.addEventListener("live:row", () => { told.rows += 1; });
}"""


@dataclass(frozen=True)
class Shown:
    """What a page of so many rows made of some seconds: milliseconds, and changes of the list a row event."""

    rows: int
    events: int
    operations: float
    longest: float
    cpu: float  # the most that one task computed; the rest of a long one it waited for the processor
    long: int


def measured(seconds: float, shown: tuple[int, ...]) -> list[Shown]:
    """An auditor's page with so many rows loaded, one after the other."""
    cookie = live_run.cookie(User.objects.get(username="person-4")).partition("=")[2]
    with live_run.web() as port, sync_playwright() as engine:
        options = ["--no-sandbox", "--disable-gpu"]
        browser = engine.chromium.launch(executable_path=packages.chromium(), args=options)
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        url = f"http://127.0.0.1:{port}"
        context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": url}])
        found = []
        for rows in shown:
            page = context.new_page()
            page.goto(url)
            found.append(watched(page, rows, seconds, browser.new_browser_cdp_session()))
            page.close()
        browser.close()
    return found


def watched(page: Page, rows: int, seconds: float, chromium: CDPSession) -> Shown:
    page.locator("#live-state", has_text="Live").wait_for()
    while page.locator("#rows > .row").count() < rows:
        last = page.locator("#rows > .row").last.get_attribute("id")
        page.locator("[data-more-link]").click()
        page.locator(f"#{last} + .row").wait_for(state="attached")
    page.evaluate(WATCH)
    # On a thread of its own: playwright's holds an event loop, in which Django asks no database.
    with traced(page, chromium) as tasks, ThreadPoolExecutor(1) as pool:
        stormed = pool.submit(storm, seconds)
        page.wait_for_timeout(seconds * 1000)
        stormed.result()
    told: dict[str, Any] = page.evaluate("window.told")
    count = page.locator("#rows > .row").count()
    return Shown(
        count, told["rows"], told["operations"] / max(1, told["rows"]), max(told["long"], default=0.0),
        max(tasks, default=0.0), sum(one > GOAL_MS for one in told["long"]),
    )  # fmt: skip


@contextlib.contextmanager
def traced(page: Page, chromium: CDPSession) -> Iterator[list[float]]:
    """Milliseconds that each task of the pages' main threads itself computed; filled when the block ends."""
    events: list[dict[str, Any]] = []
    ended: list[bool] = []
    chromium.on("Tracing.dataCollected", lambda told: events.extend(told["value"]))
    chromium.on("Tracing.tracingComplete", lambda told: ended.append(True))
    config = {"includedCategories": ["toplevel", "devtools.timeline"]}
    chromium.send("Tracing.start", {"transferMode": "ReportEvents", "traceConfig": config})
    tasks: list[float] = []
    yield tasks
    chromium.send("Tracing.end")
    while not ended:
        page.wait_for_timeout(50)
    main = {(one["pid"], one["tid"]) for one in events if one["name"] in ("UpdateLayoutTree", "TimerFire")}
    tasks += [one["tdur"] / 1000 for one in events if "tdur" in one and (one["pid"], one["tid"]) in main]


def storm(seconds: float) -> None:
    """Rows come anywhere among the most urgent and go from there, each by a transaction of its own."""
    dice = random.Random(4411)
    model = Action.objects.pending().first()
    assert model is not None
    end, next_at = time.monotonic() + seconds, time.monotonic()
    while time.monotonic() < end:
        urgent = list(Action.objects.pending().order_by("deadline", "id")[:40])
        come(model, until=dice.choice(urgent).deadline - timedelta(milliseconds=dice.randrange(900)))
        go(dice.choice(urgent))
        next_at += 1 / RATE
        time.sleep(max(0.0, next_at - time.monotonic()))
    connections.close_all()


@transaction.atomic
def come(model: Action, *, until: Any) -> None:
    fresh = copy.copy(model)
    fresh.pk, fresh.deadline, fresh.created_at = uuid.uuid4(), until, timezone.now()
    fresh.save(force_insert=True)
    states.announce(fresh)


@transaction.atomic
def go(action: Action) -> None:
    states.move(action, to=Action.State.CANCELLED, actor="agentsec")


def report(found: list[Shown]) -> None:
    print(f"\n{'rows shown':>10} {'row events':>11} {'changes each':>13} {'longest ms':>11} "
          f"{'/ goal':>7} {'most cpu':>8} "
          f"{'long tasks':>11}")  # fmt: skip
    for one in found:
        print(f"{one.rows:>10} {one.events:>11} {one.operations:13.1f} {one.longest:11.0f} "
              f"{one.longest / GOAL_MS:7.2f} {one.cpu:8.1f} {one.long:>11}")  # fmt: skip
