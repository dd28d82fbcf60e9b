"""A tool's definition as a release freezes it: plain data with a digest of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from policies import values
from policies.arguments import digest
from policies.facts import ToolFacts

TOOL_DOMAIN = b"agentsec/tool/v1\n"
OPEN = {"type": "object", "additionalProperties": True}
# Of a tool that declares no parameters: it takes none, since an empty schema would take anything.
NO_PARAMETERS = {"type": "object", "properties": {}}
_LISTS = ("untrusted_fields", "returns", "authority", "labels")


@dataclass(frozen=True)
class ToolDef:
    """What a tool is and does; `manifest` is the digest over all of it.

    `authority` names the arguments that say who or what is affected, None meaning every one. Whether a tool
    is paused stands outside: that is a switch, and switches act at once.
    """

    name: str
    description: str = ""
    runs: str = "agent"
    effect: str = "destructive"
    output: str = "untrusted"
    untrusted_fields: tuple[str, ...] = ()
    returns: tuple[str, ...] = ()
    sends: str = "external"
    idempotent: bool = False
    authority: tuple[str, ...] | None = ()
    target: str = ""
    summary: str = ""
    labels: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=lambda: dict(OPEN))
    config: Mapping[str, Any] = field(default_factory=dict)
    declared: bool = True

    @classmethod
    def undeclared(cls, name: str) -> ToolDef:
        """A tool that nobody declared: destructive, external, untrusted, and every argument an authority."""
        return cls(name=name, authority=None, declared=False)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ToolDef:
        """Raises KeyError or TypeError for anything that `to_json` did not write."""
        lists = {key: tuple(stored[key]) for key in _LISTS if stored[key] is not None}
        return cls(**(dict(stored) | lists))

    def to_json(self) -> dict[str, Any]:
        """JSON values; `from_json` gives an equal definition back."""
        plain = asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}

    @cached_property
    def manifest(self) -> str:
        """SHA-256(TOOL_DOMAIN ‖ JCS(definition)), 64 lower-case hex digits."""
        return digest(TOOL_DOMAIN, values.normalise(self.to_json(), max_depth=values.MAX_DEPTH * 3))

    @cached_property
    def labels_given(self) -> tuple[str, ...]:
        """The labels a session takes on when this tool starts in it."""
        untrusted = self.output != "trusted" or bool(self.untrusted_fields)
        return tuple(sorted({*self.returns, *(["untrusted"] if untrusted else [])}))

    def authority_in(self, args: Iterable[str]) -> tuple[str, ...]:
        """The names among `args` that say who or what is affected."""
        return tuple(args) if self.authority is None else self.authority

    def facts(self) -> ToolFacts:
        return ToolFacts(
            name=self.name, effect=self.effect, sends=self.sends, output=self.output, returns=self.returns,
            labels=self.labels, authority=self.authority, declared=self.declared, runs=self.runs,
        )  # fmt: skip
