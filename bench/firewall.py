"""How much the firewall's detectors find, and how often they are wrong, by source.

    python bench/firewall.py [FILE.jsonl] [--show benign|missed] [--source NAME]

Each line of the file is {"set", "label" (1 attack, 0 benign), "kind" (prompt | tool_output), "text"}. By
default it is dev.jsonl in the folder that AGENTSEC_FIREWALL_DATA names.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from policies.firewall import Inspection, inspect  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    folder = Path(os.environ.get("AGENTSEC_FIREWALL_DATA", "."))
    parser.add_argument("file", nargs="?", type=Path, default=folder / "dev.jsonl")
    parser.add_argument("--show", choices=["benign", "missed"], help="print the texts judged wrongly")
    parser.add_argument("--source", default="", help="only sets whose name starts so")
    options = parser.parse_args()
    if not options.file.exists():
        print(f"{options.file} does not exist; name a file of labelled texts", file=sys.stderr)
        return 2
    report(options.file, show=options.show, source=options.source)
    return 0


def report(file: Path, *, show: str | None, source: str) -> None:
    counts: dict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0, 0])
    micros = []
    for line in file.read_text("utf-8").strip("\n").split("\n"):
        row = json.loads(line)
        if not row["set"].startswith(source):
            continue
        began = time.perf_counter_ns()
        result = inspect(row["text"], direction="input" if row["kind"] == "prompt" else "output")
        if any("detector failed" in finding.why for finding in result.findings):
            raise SystemExit(f"a detector crashed on {row['text'][:200]!r}")
        micros.append((time.perf_counter_ns() - began) / 1000)
        instructing = any(finding.detector in ("override", "leak") for finding in result.findings)
        count = counts[row["set"], row["label"]]
        count[0] += 1
        count[1] += instructing
        count[2] += result.verdict == "block"
        if show and instructing == (show == "benign") and row["label"] == (show == "missed"):
            print(f"{row['set']}: {excerpt(row['text'], result)}")
    print(f"{'set':28} {'is':7} {'texts':>6} {'found':>7} {'blocked':>8}")
    for (name, label), (total, found, blocked) in sorted(counts.items()):
        kind = "attack" if label else "benign"
        print(f"{name:28} {kind:7} {total:6} {found / total:7.1%} {blocked / total:8.1%}")
    micros.sort()
    print(f"inspect: p50 {micros[len(micros) // 2]:.0f} µs, p99 {micros[int(len(micros) * 0.99)]:.0f} µs")


def excerpt(text: str, result: Inspection) -> str:
    for finding in result.findings:
        if finding.detector in ("override", "leak"):
            quoted = text[max(0, finding.start - 40) : finding.end + 40]
            return f"{finding.why} [{finding.severity}] {quoted!r}"
    return repr(text[:200])


if __name__ == "__main__":
    raise SystemExit(main())
