"""The demonstration's company as a whole instance, with this test run playing its agents and people."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentsec_site.demo.client import Client
from agentsec_site.demo.scenes import SCENES
from agentsec_site.demo.stage import Stage
from tests.live import Live

PATIENCE = 60.0


@dataclass
class Company:
    live: Live
    stage: Stage
    people: dict[str, Client]
    mail: Path
    pool: ThreadPoolExecutor

    def play(self, name: str) -> Future[dict[str, Any]]:
        """A scene on a thread of its own; it waits for the people of the test."""
        return self.pool.submit(SCENES[name], self.stage)

    def waiting(
        self, tool: str, *, who: str = "demo", ready: Callable[[dict[str, Any]], bool] = bool
    ) -> dict[str, Any]:
        """The pending action of a tool, once it stands in this person's inbox."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            for item in self.people[who].call("GET", "/inbox?limit=100")["actions"]:
                if item["tool"] == tool and ready(item):
                    return dict(item)
            time.sleep(0.1)
        raise AssertionError(f"nothing of {tool} waits for {who}")

    def decide(
        self, item: dict[str, Any], verdict: str = "approve", *, who: str = "demo", **more: Any
    ) -> Any:
        body = {"verdict": verdict, "digest": item["digest"], **more}
        return self.people[who].call("POST", f"/actions/{item['id']}/decision", body)

    def sent(self) -> list[str]:
        return [path.read_text() for path in sorted(self.mail.glob("*.eml"))]


def open_company(live: Live, smtp: tuple[str, int], mail: Path) -> Company:
    """The company of a started `demo --idle`."""
    keys = json.loads((live.home / "keys" / "demo-agents.json").read_text())
    token = live.manage("token", "create", "demo").stdout.split()[-1]
    stage = Stage(base=live.url, keys=keys, smtp=smtp, patience=PATIENCE, stop=threading.Event())
    people = {"demo": Client(live.url, token), "priya": Client(live.url, keys["priya"])}
    return Company(live, stage, people, mail, ThreadPoolExecutor(8))


def order(buyer: Client, session: str, item: str) -> dict[str, Any]:
    """An order that two people of finance decide."""
    args = {"supplier": "Nordwind", "item": item, "quantity": 4, "amount": 40, "currency": "EUR"}
    return dict(buyer.propose(session, "order.place", args))
