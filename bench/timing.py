"""How the benchmarks take time: warm first, then each round by itself, p50 and p99 in microseconds."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Microseconds: by the clock on the wall, and the median of what this thread itself computed.

    The two differ where other processes want the same processors; ratios are told of `cpu`.
    """

    p50: float
    p99: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.p50:9.1f} {self.p99:9.1f} {self.cpu:9.1f}"


def measure(act: Callable[[], object], *, seconds: float = 1.0, warm: int = 10, most: int = 5000) -> Timing:
    """Time `act` for about `seconds`, 20 to `most` rounds, after `warm` rounds that do not count."""
    for _ in range(warm):
        act()
    gc.collect()
    micros: list[float] = []
    computed: list[float] = []
    end = time.perf_counter() + seconds
    while len(micros) < 20 or (time.perf_counter() < end and len(micros) < most):
        cpu = time.thread_time_ns()
        began = time.perf_counter_ns()
        act()
        micros.append((time.perf_counter_ns() - began) / 1000)
        computed.append((time.thread_time_ns() - cpu) / 1000)
    micros.sort()
    computed.sort()
    return Timing(micros[len(micros) // 2], micros[int(len(micros) * 0.99)], computed[len(computed) // 2])
