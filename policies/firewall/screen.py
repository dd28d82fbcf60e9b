"""inspect(text) → Inspection: runs every detector and says what may go on.

A user's text that overrides instructions is blocked. The same in what a tool returned is flagged and labels
the session: such a page must stay readable, and policy, which knows where values come from, takes it from
there. Secrets are masked, stored ones by their values, and invisible characters stripped in both directions.
A crashed detector blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter

from policies.firewall import known, leak, override, secrets, unicode
from policies.firewall.findings import MAX_FINDINGS, Finding, Hit, Inspection, Text
from policies.text import reading

Detector = Callable[[Text], list[Hit]]

DETECTORS: dict[str, Detector] = {
    override.NAME: override.detect,
    leak.NAME: leak.detect,
    unicode.NAME: unicode.detect,
    secrets.NAME: secrets.detect,
    known.NAME: known.detect,
}

DIRECTIONS = ("input", "output")
_INSTRUCTING = (override.NAME, leak.NAME)
_GRAVITY = {"high": 0, "medium": 1, "low": 2}


def inspect(text: str, *, direction: str, source: str = "") -> Inspection:
    """Inspect one text; `direction` is input (what goes to an agent from people) or output (what a tool or
    model returned). `source` says who wrote it, for example "user" or "tool:web.fetch"; it is quoted in a
    crash's reason and never makes the answer milder.

    Never raises for any text; ValueError for another direction.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"direction is input or output, not {direction!r}")
    try:
        prepared = _prepare(text)
    except Exception as error:  # noqa: BLE001 - whatever broke, an unread text must not go on
        return _failed("reading", text, source, error)
    hits: list[Hit] = []
    for name, detect in DETECTORS.items():
        try:
            hits += detect(prepared)
        except Exception as error:  # noqa: BLE001 - a crash fails closed and says so
            return _failed(name, text, source, error)
    return _answer(text, hits, direction)


def _prepare(text: str) -> Text:
    views = [reading(text)]
    for view in (reading(text, lookalikes=True), reading(text, tags=True)):
        if all(view.text != known.text for known in views):
            views.append(view)
    return Text(text, tuple(views))


def _answer(text: str, hits: Sequence[Hit], direction: str) -> Inspection:
    findings = _told(hits)
    grave = any(hit.finding.severity == "high" and hit.finding.detector in _INSTRUCTING for hit in hits)
    if direction == "input" and grave:
        return Inspection("block", "", findings)
    changed = _replaced(text, hits)
    labels = _labels(hits) if direction == "output" else ()
    if changed != text:
        return Inspection("rewrite", changed, findings, labels)
    return Inspection("flag" if findings else "pass", text, findings, labels)


def _told(hits: Sequence[Hit]) -> tuple[Finding, ...]:
    """The gravest first choose who is told when there are too many; told in the order of the text."""
    gravest = sorted((hit.finding for hit in hits), key=lambda finding: _GRAVITY[finding.severity])
    return tuple(sorted(gravest[:MAX_FINDINGS], key=lambda finding: (finding.start, finding.end)))


def _labels(hits: Sequence[Hit]) -> tuple[str, ...]:
    labels = set()
    for hit in hits:
        if hit.finding.detector in _INSTRUCTING or (
            hit.finding.detector == unicode.NAME and hit.finding.severity == "high"
        ):
            labels |= {"untrusted", "injection"}
        elif hit.finding.detector in (secrets.NAME, known.NAME):
            labels.add("secret")
    return tuple(sorted(labels))


def _replaced(text: str, hits: Sequence[Hit]) -> str:
    """Overlapping places become one, so that no half of a secret stays behind."""
    wanted = sorted(
        (
            (hit.finding.start, hit.finding.end, hit.replacement)
            for hit in hits
            if hit.replacement is not None
        ),
        key=itemgetter(0, 1),
    )
    merged: list[tuple[int, int, str]] = []
    for start, end, replacement in wanted:
        if merged and start < merged[-1][1]:
            first, last, earlier = merged[-1]
            merged[-1] = (first, max(last, end), earlier or replacement)
        else:
            merged.append((start, end, replacement))
    parts, at = [], 0
    for start, end, replacement in merged:
        parts += [text[at:start], replacement]
        at = end
    return "".join(parts) + text[at:]


def _failed(detector: str, text: str, source: str, error: Exception) -> Inspection:
    where = f" on text from {source}" if source else ""
    why = f"the detector failed{where} ({type(error).__name__}), so the text is held back"
    return Inspection("block", "", (Finding(detector, "high", 0, len(text), why),))
