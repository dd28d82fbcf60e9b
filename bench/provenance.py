"""How long a proposal takes to trace its arguments through what was said in the session.

    manage.py bench provenance [--pure] [KIB …]        (default: 64 256 1024 of session text)

On an instance of its own, with real PostgreSQL, sessions are filled, and then calls are proposed in them as
the gateway does. Timed is, within each `propose`, what tracing costs: asking which texts there are, reading
and preparing those that this process has not prepared, looking every argument up.

    warm    nothing was said since the last call
    said    one text of 4 KiB was said since the last call, as in a session that goes on
    cold    this process has prepared nothing of the session: it has just started
    propose the whole of a warm proposal, for comparison: locks, firewall, rules and log entries included

`--pure` leaves the database out: `index` prepares all texts, `trace` looks one call up.

The sessions: `mail` in texts of 4 KiB, of which every tenth is the user's, and every other holds accents and
typographic quotes; `chat`, the same in texts of 512 characters; `page`, one text; `list`, the structured
output of a trusted tool with 20 leaves a KiB. Their words are as frequent as words are (Zipf). The calls:
`found` (values that stand early and late), `nowhere` (a body that the model composed, with addresses found
in no text), `common` (words that stand everywhere, though not in that order, and a part of a word).

What was slow, measured on the machine of the numbers below (1 MiB of mail, milliseconds of processor time):
every proposal read all texts again and brought them into comparable form piece by piece, a word or blank at
a time (526; now the C code of str for whatever is one sign for one sign, and pieces only where lengths
differ: 20), and then searched every text for every value (4 to 11 for a call). Four ways of looking ten
values up were tried, in 256 texts, in 8,192 and in one:

    find() in each text              3.7    13.5    2.1
    find() in all texts joined       3.1     3.2    2.8    and joined again whenever something is said
    a set of words for each text     1.2     8.2    1.0
    words that lead to blocks        0.8     1.5    1.1    chosen: a value found nowhere costs 0.01
"""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Callable, Sequence
from typing import Any

from bench.instance import fresh
from bench.timing import Timing, measure
from policies import records, rendition
from policies.lookup import Index, Source
from policies.provenance import trace

GOAL_MS = 5.0
SIZES = (64, 256, 1024)
PIECES = {"mail": 4096, "chat": 512, "page": 1 << 30}
VOCABULARY = 12_000


def main(argv: list[str]) -> None:
    sizes = [int(word) for word in argv if word != "--pure"] or list(SIZES)
    print(f"milliseconds; the goal is p99 under {GOAL_MS:.0f} with 1 MiB of session text")
    print("cpu: what this thread itself computed, without waiting; ratio: p99 / goal\n")
    print(f"{'KiB':>6} {'session':>8} {'what':>16}", end="")
    print(f" {'p50':>9} {'p99':>9} {'cpu p50':>9} {'ratio':>7} {'cpu p99':>9}")
    if "--pure" in argv:
        for kib in sizes:
            for kind in (*PIECES, "list"):
                show_pure(kib, kind)
        return
    with fresh():
        # Loaded by name: its models need the settings, which need the instance.
        importlib.import_module("bench.provenance_gateway").report(sizes)


def show_pure(kib: int, kind: str) -> None:
    sources = session(kib, kind)
    row(kib, kind, "index", timed(lambda: Index(sources), most=50))
    index = Index(sources)
    for name, args in calls(sources).items():
        row(kib, kind, f"trace {name}", timed(lambda args=args: trace(args, index)))


def timed(act: Callable[[], object], *, most: int = 500) -> Timing:
    return measure(act, seconds=2, warm=1, most=most)


def row(kib: int, kind: str, what: str, timing: Timing, cpu99: float = 0.0) -> None:
    p50, p99, cpu = (micros / 1000 for micros in (timing.p50, timing.p99, timing.cpu))
    known = f" {cpu99 / 1000:9.2f}" if cpu99 else ""
    print(f"{kib:>6} {kind:>8} {what:>16} {p50:9.2f} {p99:9.2f} {cpu:9.2f} {p99 / GOAL_MS:7.2f}{known}")
    sys.stdout.flush()


def session(kib: int, kind: str) -> list[Source]:
    """The same session for the same size, each time."""
    dice = random.Random(kib)
    words = vocabulary(dice)
    if kind == "list":
        return [listing(kib, words, dice)]
    piece = min(PIECES[kind], kib * 1024)
    first = 1 if kind == "page" else 0
    return [text(number + first, piece, words, dice) for number in range(kib * 1024 // piece)]


def text(number: int, piece: int, words: Sequence[str], dice: random.Random) -> Source:
    head = f"From: person{number}@company{number % 97}.example, ref {number * 7919 % 1_000_000:06}"
    lines = [head, *(prose(words, dice) for _ in range(piece // 60 + 1))]
    if number % 2:
        lines = [f"Señor, “{line}” – grüße" for line in lines]
    origin = "user" if number % 10 == 0 else "untrusted"
    return Source(str(number), origin, "\n".join(lines)[:piece], who="mail.read")


def listing(kib: int, words: Sequence[str], dice: random.Random) -> Source:
    rows = [
        {"id": str(number * 7919), "owner": f"person{number}@company{number % 97}.example",
         "name": f"{dice.choice(words)}-{number}.txt", "note": prose(words, dice)}
        for number in range(kib * 5)
    ]  # fmt: skip
    shown = rendition.render(rows)
    return Source("0", "trusted", shown.text, who="files.list", quoted=shown.of_fields(["note"]),
                  fields=records.fields(shown.fields()))  # fmt: skip


def vocabulary(dice: random.Random) -> list[str]:
    return ["".join(dice.choices("etaoinshrdlcumwfgypbvk", k=dice.randint(2, 10))) for _ in range(VOCABULARY)]


def prose(words: Sequence[str], dice: random.Random) -> str:
    return " ".join(words[min(int(dice.paretovariate(0.3)) - 1, VOCABULARY - 1)] for _ in range(11))


def calls(sources: Sequence[Source]) -> dict[str, dict[str, Any]]:
    early, late = (f"person{number}@company{number % 97}.example" for number in (0, len(sources) - 1))
    often = vocabulary(random.Random(len(sources[0].text)))[:6]
    body = " ".join(f"Write to new{number}@nowhere{number}.example about it." for number in range(10))
    return {
        "found": {"to": [early, late], "subject": sources[-1].text[-40:], "amount": 1500},
        "nowhere": {"to": ["mallory@evil.example"], "subject": "Hello there", "body": body, "amount": 73.5},
        "common": {"to": [often[0][1:] + "q"], "subject": " ".join(often), "body": " ".join(often[::-1])},
    }
