"""What an event offers to match arguments against: a trusted tool's JSON by fields, other text as it is.

The host reports what a tool returned as text. Where the tool's definition vouches for its output, and the
text is JSON, it is followed like the result of an action: see `records`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from policies import rendition
from policies.tooling import ToolDef
from policies.values import ArgumentsRefused, parse_json

# A line and a field are kept for each leaf; a text of more leaves is a dump, not a record to point at.
MAX_LEAVES = 50_000

Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Matter:
    """A text to match against: `quoted` are the spans of it that nobody vouches for, `fields` its leaves as
    `records.fields` reads them; `labels` is what the firewall found once escapes were undone.
    """

    text: str
    quoted: Spans = ()
    fields: Sequence[Sequence[Any]] = ()
    labels: tuple[str, ...] = ()


def follow(text: str, *, origin: str, tool: ToolDef | None, quoted: Spans) -> Matter:
    """What an event's text, as the firewall lets it go on, comes to. `quoted` are spans of it.

    Nothing is vouched for in a text that looks like JSON and cannot be read as one value in one way, nor in
    plain text of a tool some of whose fields outsiders write, since fields cannot be told apart there.
    """
    if origin != "trusted" or tool is None or not text:
        return Matter(text, quoted)
    if not quoted and _looks_structured(text):
        return _structured(text, tool) or _nobodys(text)
    return _nobodys(text) if tool.untrusted_fields else Matter(text, quoted)


def _structured(text: str, tool: ToolDef) -> Matter | None:
    """The text field by field; None where it cannot be read so, or the firewall holds it back."""
    try:
        output = parse_json(text.encode("utf-8", "surrogatepass"))
    except ArgumentsRefused:
        return None
    labels: tuple[str, ...] = ()
    if "\\" in text:
        # The firewall has read the text, but not what its escapes stand for.
        screened = rendition.screen(output, source=f"tool:{tool.name}")
        output, labels = screened.output, screened.labels
        if screened.verdict == "block":
            return None
    shown = rendition.render(output)
    if len(shown.spans) > MAX_LEAVES:
        return None
    return Matter(shown.text, shown.of_fields(tool.untrusted_fields), shown.fields(), labels)


def _nobodys(text: str) -> Matter:
    return Matter(text, ((0, len(text)),))


def _looks_structured(text: str) -> bool:
    stripped = text.strip()
    return (stripped[:1], stripped[-1:]) in (("{", "}"), ("[", "]"))
