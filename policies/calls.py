"""What the user's words say of a call, once it has answered. Pure.

The same value is worth more in the answer to a question that the user asked than in one that the agent chose
to ask: who was named by "the largest file" depends on which files were listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_NAMED = ("user", "named", "reviewer")
_READ = "read"


@dataclass(frozen=True)
class Call:
    """The call that returned a text: its effect, and the origins of its arguments as a rule sees them.

    `args` are known while it answers, and are not kept.
    """

    effect: str
    origin: Mapping[str, str] = field(default_factory=dict)
    authority: Mapping[str, str] = field(default_factory=dict)
    args: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any] | None) -> Call | None:
        """None where nobody knows which call it was."""
        return cls(stored["effect"], stored["origin"], stored["authority"]) if stored else None

    def to_json(self) -> dict[str, Any]:
        return {"effect": self.effect, "origin": dict(self.origin), "authority": dict(self.authority)}

    @property
    def is_the_users_question(self) -> bool:
        """Whether it only read, and nothing in how it was asked was anybody's choice but the user's."""
        return self.effect == _READ and all(found in _NAMED for found in self.origin.values())

    @property
    def is_the_users_act(self) -> bool:
        """Whether it acted, on nothing but what the user had named."""
        named = [found in _NAMED for found in self.authority.values()]
        return self.effect != _READ and bool(named) and all(named)
