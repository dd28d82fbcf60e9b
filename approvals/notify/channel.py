"""What a channel is: a name, what it needs to know, and how it delivers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from approvals.notify.letters import Letter


@dataclass(frozen=True)
class Destination:
    """Where one message goes. URL and secret reach no log and no page."""

    email: str = ""
    url: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)


@dataclass(frozen=True)
class Channel:
    """`deliver` gives nothing back and raises Undelivered; `has_secret` ones sign what they send."""

    name: str
    label: str
    about: str
    available: Callable[[], bool]
    deliver: Callable[[Letter, Destination], None]
    has_url: bool = False
    has_secret: bool = False


class Undelivered(Exception):
    """It did not arrive, and why, in words that may be shown.

    `gone`: the other side wants nothing any more. `after`: seconds that it asks to wait.
    """

    def __init__(self, why: str, *, gone: bool = False, after: int = 0) -> None:
        super().__init__(why)
        self.why, self.gone, self.after = why[:300], gone, after


def always() -> bool:
    return True
