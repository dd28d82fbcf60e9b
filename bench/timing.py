"""How the benchmarks take time: warm first, then each round by itself, p50 and p99 in microseconds."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Microseconds."""

    p50: float
    p99: float

    def __str__(self) -> str:
        return f"{self.p50:9.1f} {self.p99:9.1f}"


def measure(act: Callable[[], object], *, seconds: float = 1.0, warm: int = 10, most: int = 5000) -> Timing:
    """Time `act` for about `seconds`, at least 20 and at most `most` rounds, after `warm` that do not count."""
    for _ in range(warm):
        act()
    gc.collect()
    micros: list[float] = []
    end = time.perf_counter() + seconds
    while len(micros) < 20 or (time.perf_counter() < end and len(micros) < most):
        began = time.perf_counter_ns()
        act()
        micros.append((time.perf_counter_ns() - began) / 1000)
    micros.sort()
    return Timing(micros[len(micros) // 2], micros[min(len(micros) - 1, int(len(micros) * 0.99))])
