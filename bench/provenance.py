"""How long it takes to trace the arguments of one call through what was said in a session.

    manage.py bench provenance [KIB …]        (default: 64 256 1024 of session text)

The session is one of mail and listings, in texts of about 4 KiB, every tenth the user's, the rest tool
outputs that nobody vouches for; half of them hold accents and typographic quotes, as mail does. Measured
apart, since a server may keep the one and not the other: `index` prepares the texts, `trace` looks up one
call's arguments in them. The calls: `found` (values that stand early and late in the session), `nowhere` (a
body that the model composed, with addresses found in no text) and `common` (a value that stands everywhere
but always within a longer word).
"""

from __future__ import annotations

import random
from typing import Any

from bench.timing import measure
from policies.provenance import Index, Source, trace

GOAL_MS = 5.0
PIECE = 4096
WORDS = (
    "the", "report", "for", "march", "is", "ready", "please", "send", "it", "to", "our", "partner", "before",
    "friday", "invoice", "number", "total", "amount", "meeting", "room", "account", "payment", "flight",
    "hotel", "booking", "confirmed", "regards", "customer", "service", "team", "order", "item",
)  # fmt: skip


def main(argv: list[str]) -> None:
    print(f"milliseconds; the goal is p99 under {GOAL_MS:.0f} with 1 MiB of session text\n")
    print(f"{'KiB':>6} {'what':>14} {'p50':>9} {'p99':>9} {'cpu':>9}")
    for size in [int(word) for word in argv] or [64, 256, 1024]:
        sources = session(size)
        show(size, "index", lambda sources=sources: Index(sources))
        index = Index(sources)
        for name, args in calls(sources).items():
            show(size, f"trace {name}", lambda args=args, index=index: trace(args, index))


def show(size: int, what: str, act: Any) -> None:
    timing = measure(act, seconds=2, warm=1, most=500)
    print(f"{size:>6} {what:>14} {timing.p50 / 1000:9.2f} {timing.p99 / 1000:9.2f} {timing.cpu / 1000:9.2f}")


def session(kib: int) -> list[Source]:
    """The same session for the same size, each time."""
    dice = random.Random(kib)
    return [text(number, dice) for number in range(kib * 1024 // PIECE)]


def text(number: int, dice: random.Random) -> Source:
    lines = [f"From: person{number}@company{number % 97}.example, ref {number * 7919 % 1_000_000:06}"]
    while sum(map(len, lines)) < PIECE:
        line = " ".join(dice.choice(WORDS) for _ in range(12))
        lines.append(f"Señor, “{line}” – grüße" if number % 2 else line)
    origin = "user" if number % 10 == 0 else "untrusted"
    return Source(str(number), origin, "\n".join(lines)[:PIECE])


def calls(sources: list[Source]) -> dict[str, dict[str, Any]]:
    early, late = (f"person{number}@company{number % 97}.example" for number in (0, len(sources) - 1))
    body = " ".join(f"Write to new{number}@nowhere{number}.example about it." for number in range(10))
    return {
        "found": {"to": [early, late], "subject": "the report for march", "amount": 1500},
        "nowhere": {"to": ["mallory@evil.example"], "subject": "Hello there", "body": body, "amount": 73.5},
        "common": {"to": ["ook"], "subject": "ccount", "body": "ayment"},
    }
