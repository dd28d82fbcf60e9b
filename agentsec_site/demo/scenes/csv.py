"""CSV script: an agent's own Python, approved, runs in the sandbox; what it must not do fails inside."""

from __future__ import annotations

import random
from typing import Any

from agentsec_site.demo.stage import Stage

SUMMARY = '''\
"""Sum up sales by region, and try what a script should not be able to do."""
import csv, json, socket, time
from collections import defaultdict

totals = defaultdict(float)
with open("/in/sales.csv") as source:
    for number, row in enumerate(csv.DictReader(source), 1):
        totals[row["region"]] += float(row["amount"])
        if number % 50 == 0:
            print(f"{number} rows read", flush=True)
            time.sleep(0.4)
with open("/out/summary.json", "w") as target:
    json.dump({region: round(total, 2) for region, total in sorted(totals.items())}, target, indent=2)
print("summary.json written")

for name, attempt in {
    "write to the input": lambda: open("/in/sales.csv", "a"),
    "reach the network": lambda: socket.create_connection(("192.0.2.1", 80), timeout=2),
}.items():
    try:
        attempt()
        print(name, "- it worked")
    except OSError as error:
        print(name, "- refused:", error.strerror or error)
'''
BOMB = """\
# Reads a file into memory again and again: a mistake that would take the worker down.
rows = []
while True:
    rows.append(open("/in/sales.csv", "rb").read() * 1000)
"""


def play(stage: Stage) -> dict[str, Any]:
    agent, host = stage.agent("data-bot"), stage.host("data-bot")
    files = {"sales.csv": {"$file": agent.upload(sales())}}
    asked, seen = {}, {}
    for name, code in {"summary": SUMMARY, "bomb": BOMB}.items():
        # A session each: what a script prints is untrusted, and a second script would need more people.
        session = host.open_session(purpose="Sales by region", user="kim@acme.example")
        host.say(session, "user_message", "Sum up the attached sales.csv by region.")
        asked[name] = agent.propose(
            session, "python.run", {"code": code, "files": files}, reason=f"The {name} of the sales."
        )
        seen[f"{name} session"] = session
    return seen | {name: stage.settle(agent, action) for name, action in asked.items()}


def sales() -> bytes:
    """The same invented table each time."""
    dice = random.Random(20)
    rows = [
        f"{dice.choice(['north', 'south', 'east', 'west'])},{dice.randint(100, 99999) / 100}"
        for _ in range(500)
    ]
    return "\n".join(["region,amount", *rows, ""]).encode()
