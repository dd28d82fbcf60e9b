"""What every issuer offers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID


class IssuerFailed(RuntimeError):
    """The privilege could not be made or taken back; the message is for people and holds no secret."""


@dataclass(frozen=True)
class Issued:
    """`public` may be stored and shown; `private` goes into the one answer to the agent and nowhere else."""

    public: Mapping[str, Any] = field(default_factory=dict)
    private: Mapping[str, Any] = field(default_factory=dict, repr=False)


class Issuer(Protocol):
    def scope(self, *, grant_id: UUID, config: Mapping[str, Any], args: Mapping[str, Any]) -> dict[str, Any]:
        """What will be granted, JSON, known before anything is made; raises IssuerFailed if it may not be."""

    def issue(self, *, scope: Mapping[str, Any], expires_at: datetime) -> Issued:
        """Make the privilege; raises IssuerFailed, and leaves nothing usable behind when it does."""

    def revoke(self, *, scope: Mapping[str, Any]) -> None:
        """Take it back, with everything that was opened by it; raises IssuerFailed to be tried again."""
