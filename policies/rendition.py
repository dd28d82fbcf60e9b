"""What a tool returned, as one text: inspected by the firewall, matched against later arguments.

A line a leaf, `path: value`, so that the text can be quoted on a card and an instruction that is spread over
several fields is still read as one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from policies.firewall import Finding, Inspection, inspect, known
from policies.values import pointer, stand_in
from traces import clean

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_\-]*")
Path = tuple[str | int, ...]
SECRETS = frozenset({"secrets", known.NAME})
WITHHELD = "[secret]"


@dataclass(frozen=True)
class Rendition:
    """`spans` says where in `text` each leaf stands, its path included; a plain text is one leaf."""

    text: str
    spans: Mapping[Path, tuple[int, int]]

    def fields(self) -> list[list[Any]]:
        """The leaves as `records.fields` reads them back; none for a plain text."""
        return [_field(path, *span) for path, span in self.spans.items() if path]

    def of_fields(self, names: Iterable[str]) -> tuple[tuple[int, int], ...]:
        """Where the leaves of the named fields stand: a name is a key, or keys joined by dots."""
        wanted = [(f".{name}.", name.split(".")) for name in names]
        return tuple(
            span
            for path, span in self.spans.items()
            if any(name in _dotted(path) or stand_in(keys, _keys(path)) for name, keys in wanted)
        )


@dataclass(frozen=True)
class Screened:
    """An output that the firewall has read: as it may go on, as text, and what was found."""

    output: Any
    rendition: Rendition
    verdict: str
    findings: tuple[dict[str, Any], ...]
    labels: tuple[str, ...]


def render(output: Any) -> Rendition:
    """A text as it is; any other JSON value as a line a leaf. NUL and surrogates become U+FFFD."""
    if isinstance(output, str):
        text = clean.storable(output)
        return Rendition(text, {(): (0, len(text))})
    parts, spans, at = [], {}, 0
    for path, leaf in _leaves(output, ()):
        value = leaf if isinstance(leaf, str) else json.dumps(leaf)
        line = clean.storable(f"{'.'.join(map(_step, path))}: {value}\n")
        spans[path] = (at, at + len(line))
        parts.append(line)
        at += len(line)
    return Rendition("".join(parts), spans)


def screen(output: Any, *, source: str) -> Screened:
    """Inspect what `source` returned, whole and leaf by leaf; secrets are masked, invisible signs stripped.

    Where the firewall has failed (verdict block) the output is held back whole. `findings` carry the path of
    their leaf (a JSON Pointer) and offsets within it.
    """
    try:
        values = known.current()
    except Exception as error:  # noqa: BLE001 - whatever broke, an unread output must not go on
        return _held_back(f"the values of stored secrets cannot be read ({type(error).__name__})")
    with known.holding(values):
        stored = [
            asdict(known.finding(*span)) | {"path": pointer(path)} for path, span in values.found(output)
        ]
        screened = _screened(values.masked_json(output) if stored else output, source)
    if not stored or screened.verdict == "block":
        return screened
    labels = tuple(sorted({*screened.labels, "secret"}))
    return Screened(screened.output, screened.rendition, "rewrite", (*stored, *screened.findings), labels)


def _held_back(why: str) -> Screened:
    held = {"held_back": f"{why}, so this is held back"}
    found = {"detector": known.NAME, "severity": "high", "path": "", "start": 0, "end": 0, "why": why}
    return Screened(held, render(held), "block", (found,), ())


def _screened(output: Any, source: str) -> Screened:
    whole = inspect(render(output).text, direction="output", source=source)
    if whole.verdict == "pass":
        return Screened(output, render(output), "pass", (), ())
    if whole.verdict == "block":
        held = {"held_back": whole.findings[0].why if whole.findings else "the firewall blocks it"}
        return Screened(held, render(held), "block", _located(whole, ()), whole.labels)
    findings: list[dict[str, Any]] = []
    output = _mapped(output, (), lambda path, text: _cleaned(path, text, source, findings))
    output = _without_spread_secrets(output, source)
    seen = {(found["detector"], found["why"]) for found in findings}
    findings += [found for found in _located(whole, ()) if (found["detector"], found["why"]) not in seen]
    return Screened(output, render(output), whole.verdict, tuple(findings), whole.labels)


def masked(text: str, inspection: Inspection) -> str:
    """The text for the log: exact, unless it holds secrets; then without them."""
    secrets = [finding for finding in inspection.findings if finding.detector in SECRETS]
    if not secrets:
        return text
    return inspection.text or _cut(text, secrets)


def _cut(text: str, secrets: list[Finding]) -> str:
    parts, at = [], 0
    for finding in sorted(secrets, key=lambda item: (item.start, item.end)):
        if finding.start >= at:
            parts += [text[at : finding.start], WITHHELD]
        at = max(at, finding.end)
    return "".join(parts) + text[at:]


def _cleaned(path: Path, text: str, source: str, findings: list[dict[str, Any]]) -> str:
    inspection = inspect(text, direction="output", source=source)
    findings += _located(inspection, path)
    return "" if inspection.verdict == "block" else inspection.text


def _without_spread_secrets(output: Any, source: str) -> Any:
    """A key that is spread over several leaves, line by line, hides from a look at each: drop them."""
    rendition = render(output)
    left = inspect(rendition.text, direction="output", source=source)
    secrets = [(found.start, found.end) for found in left.findings if found.detector in SECRETS]
    touched = {
        path
        for path, (start, end) in rendition.spans.items()
        if any(start < last and first < end for first, last in secrets)
    }
    return _mapped(output, (), lambda path, text: WITHHELD if path in touched else text)


def _located(inspection: Inspection, path: Path) -> tuple[dict[str, Any], ...]:
    return tuple(asdict(finding) | {"path": pointer(path)} for finding in inspection.findings)


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))
    else:
        yield path, value


def _mapped(value: Any, path: Path, change: Callable[[Path, str], str]) -> Any:
    if isinstance(value, str):
        return change(path, value)
    if isinstance(value, Mapping):
        return {key: _mapped(item, (*path, str(key)), change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(item, (*path, index), change) for index, item in enumerate(value)]
    return value


def _field(path: Path, start: int, end: int) -> list[Any]:
    stop = start + len(".".join(map(_step, path)))
    key, mark = (len(path[-1]), _step(path[-1]) != path[-1]) if isinstance(path[-1], str) else (0, False)
    return [[str(step) for step in path], stop + len(": "), end - 1, stop - mark - key, stop - mark]


def _step(step: str | int) -> str:
    """A step as it is written. A key that is no plain word (an address) is a value, and stands apart."""
    return str(step) if isinstance(step, int) or _PLAIN_KEY.fullmatch(step) else f'"{step}"'


def _dotted(path: Path) -> str:
    return "." + ".".join(_keys(path)) + "."


def _keys(path: Path) -> list[str]:
    # Through lists, and maps as well: `messages.body` is the body of each of them.
    return [step for step in path if isinstance(step, str)]
