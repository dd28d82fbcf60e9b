"""What detectors take and give. Offsets are Unicode code points of the original text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import re2

from policies.text import Folded

MAX_FINDINGS = 200

# RE2 knows word boundaries of ASCII only; these are those of every script. Tools often return JSON, where a
# line break is a backslash and a letter, which must not glue two words together.
BOUNDARY = r"(?:^|[^\pL\pN]|\\[nrt])"
GAP = r"(?:[^\pL\pN]|\\[nrt]){1,4}"


@dataclass(frozen=True)
class Finding:
    """What text[start:end] looks like; `severity` is low, medium or high; `why` one clause for a person."""

    detector: str
    severity: str
    start: int
    end: int
    why: str


@dataclass(frozen=True)
class Inspection:
    """The answer for one text.

    `verdict` is pass, flag (goes on, is told), rewrite (goes on changed) or block; `text` is what may go on,
    "" when blocked; `labels` are what a session that reads the text has met; at most MAX_FINDINGS findings.
    """

    verdict: str
    text: str
    findings: tuple[Finding, ...] = ()
    labels: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {
            "findings": [asdict(finding) for finding in self.findings],
            "labels": list(self.labels),
        }


@dataclass(frozen=True)
class Text:
    """One text as detectors read it: the original, and its readings (`policies.text.reading`)."""

    original: str
    readings: tuple[Folded, ...]


@dataclass(frozen=True)
class Hit:
    """A finding and what is to stand in its place; None leaves the text as it is."""

    finding: Finding
    replacement: str | None = None


@dataclass(frozen=True)
class Pattern:
    """One phrase to look for, in RE2. A group named `hit`, if there is one, is what is reported.

    Compiled when it is first looked for: most processes of a site never inspect a text, and compiling all
    patterns takes longer than starting Django. One that is no RE2 pattern makes its detector fail, which
    blocks; a test compiles each.
    """

    source: str
    severity: str
    why: str
    ignore_case: bool = True

    @cached_property
    def regex(self) -> Any:
        """Raises re2.error for what is no RE2 pattern: linear time is a property of the syntax."""
        options = re2.Options()
        options.case_sensitive = not self.ignore_case
        options.log_errors = False
        return re2.compile(self.source, options)

    def spans(self, reading: Folded) -> Iterator[tuple[int, int]]:
        group = self.regex.groupindex.get("hit", 0)
        for match in self.regex.finditer(reading.text):
            start, end = match.span(group)
            if start < end:
                yield reading.span(start, end)


def phrases(detector: str, text: Text, patterns: Iterable[Pattern]) -> list[Hit]:
    """A hit for every phrase in any reading of the text, each place once a phrase."""
    found: dict[tuple[int, int, str], Finding] = {}
    for pattern in patterns:
        for reading in text.readings:
            for start, end in pattern.spans(reading):
                key = (start, end, pattern.why)
                found.setdefault(key, Finding(detector, pattern.severity, start, end, pattern.why))
    return [Hit(finding) for finding in found.values()]
