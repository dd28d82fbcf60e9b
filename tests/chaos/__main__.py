"""`python -m tests.chaos`: the long form, with a table at its end."""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
from pathlib import Path
from types import FrameType

from tests.chaos.run import Report, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--actions", type=int, default=2000, help="how many are proposed (default: 2000)")
    parser.add_argument("--threads", type=int, default=10, help="agents at once (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default: 0)")
    parser.add_argument(
        "--pause", type=float, default=1.0, help="mean of the least seconds between blows (default: 1)"
    )
    parser.add_argument("--every", type=int, default=3, help="mean actions between blows (default: 3)")
    parser.add_argument("--logs", type=Path, metavar="DIR", help="keep what its processes wrote there")
    words = parser.parse_args()
    # Told to end, it still takes its instance along.
    signal.signal(signal.SIGTERM, _end)
    report = run(
        actions=words.actions, threads=words.threads, seed=words.seed, pause=words.pause, every=words.every,
        logs=words.logs, say=_say,
    )  # fmt: skip
    print(table(report))
    return 0 if report.held else 1


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _say(line: str) -> None:
    print(line, flush=True)


def table(report: Report) -> str:
    """The report as it is printed."""
    lines = [f"{sum(report.states.values())} actions in {report.seconds:.0f} s"]
    lines += [f"  {name:<28}{times:>6}" for name, times in sorted(report.struck.items())]
    lines += ["seconds after a blow: median, most"]
    for name, times in sorted(report.pauses.items()):
        lines.append(f"  {name:<44}{statistics.median(times):>6.1f}{max(times):>6.1f}")
    lines += ["starts seen from outside"]
    lines += [f"  {name:<28}{times:>6}" for name, times in sorted(report.starts.items())]
    for check in report.checks:
        lines.append(f"{'held  ' if check.held else 'BROKEN'}  {check.promise}: {check.counted}")
        lines += [f"          {why}" for why in check.broken[:20]]
    lines += ["complaints in the logs"] * bool(report.complaints)
    lines += [f"  {times:>6}  {line}" for line, times in report.complaints.most_common(20)]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
