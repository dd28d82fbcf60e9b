"""What an agent writes into a call must not hold the value of a stored secret; once kept, it does not.

Tools are given secrets by name. An agent that holds a value has read it somewhere; sending it on would bring
it to whoever the call reaches, and into every table that keeps the call. So it is taken out before anything
is stored, and the call is blocked with a finding that names the secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from policies.arguments import pointer
from policies.firewall import known
from traces.problems import Refused


@dataclass(frozen=True)
class Leak:
    """Arguments without the values that stood in them, and a finding for each."""

    args: dict[str, Any]
    findings: tuple[dict[str, Any], ...]


def taken_out(args: Mapping[str, Any]) -> Leak:
    """These arguments as they may be stored. Raises Refused("unavailable") where values cannot be read."""
    values = known.current()
    found = tuple(
        asdict(known.finding(*span)) | {"path": pointer(path), "blocks": True}
        for path, span in values.found(args)
    )
    return Leak(values.masked_json(args) if found else dict(args), found)


def refuse(text: str, *, what: str) -> None:
    """Raise Refused("invalid") where a text that is kept as it is holds a value."""
    if names := known.current().names(text):
        raise Refused("invalid", f"{what} holds the value of the secret {names[0]}: name it, do not send it")


def refuse_content(content: bytes, *, what: str) -> None:
    """The same for a file."""
    refuse(content.decode("utf-8", "surrogateescape"), what=what)


def masked(text: str) -> str:
    """A text without values."""
    return known.current().masked(text)
