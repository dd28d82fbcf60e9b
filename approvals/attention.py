"""What is known of the look that came before a vote. It goes into the vote's entry and decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from approvals.attention_models import Look
from approvals.models import Vote


@dataclass(frozen=True)
class Attention:
    """Milliseconds in view (None: nobody measured), whether it is risky, what votes given together share."""

    seen_ms: int | None = None
    risky: bool = False
    bulk: UUID | None = None

    def body(self) -> dict[str, Any]:
        """What the vote's entry says of it; nothing where nothing is known."""
        said: dict[str, Any] = {} if self.seen_ms is None else {"seen_ms": self.seen_ms}
        return said if self.bulk is None else {**said, "bulk": str(self.bulk)}

    def note(self, vote: Vote) -> None:
        """Keep it beside the vote, in the vote's transaction."""
        if self.body():
            Look.objects.create(vote=vote, seen_ms=self.seen_ms, risky=self.risky, bulk=self.bulk)


UNKNOWN = Attention()
