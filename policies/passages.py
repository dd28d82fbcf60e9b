"""Passages of a text that somebody else wrote, asked quickly whether one of them is touched. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable


class Passages:
    """`spans` are (start, end) in any order; they may overlap."""

    def __init__(self, spans: Iterable[tuple[int, int]]) -> None:
        joined: list[list[int]] = []
        for start, end in sorted((min(span), max(span)) for span in spans):
            if joined and start <= joined[-1][1]:
                joined[-1][1] = max(end, joined[-1][1])
            else:
                joined.append([start, end])
        self._starts = [start for start, _ in joined]
        self._ends = [end for _, end in joined]

    def touch(self, start: int, end: int) -> bool:
        """Whether one of them and text[start:end] overlap."""
        before = bisect_left(self._starts, end) - 1
        return before >= 0 and start < self._ends[before]
