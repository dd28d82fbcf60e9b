"""What may stand beside the rows of the inbox, asked for in one go: mostly there is nothing to read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import connection
from django.db.models import prefetch_related_objects

from approvals import holding
from approvals.holding import Holds
from approvals.models import Action, Vote
from approvals.word_models import Word

_ASKED = """
    SELECT EXISTS (SELECT FROM approvals_vote WHERE action_id = ANY(%(actions)s)),
        EXISTS (SELECT FROM approvals_word WHERE action_id = ANY(%(actions)s)),
        EXISTS (SELECT FROM policies_switch) OR EXISTS (SELECT FROM policies_tool WHERE paused)
"""


@dataclass(frozen=True)
class Aside:
    """Whether any of some actions has votes or words, and whether anything at all is held."""

    votes: bool
    words: bool
    held: bool

    def read(self, actions: Sequence[Action]) -> None:
        """Read votes and words for all of these actions; what is not there is known to be so, without a query."""
        for name, there, nothing in (
            ("votes", self.votes, Vote.objects.none()),
            ("words", self.words, Word.objects.none()),
        ):
            if there:
                prefetch_related_objects(actions, name)
                continue
            # As a prefetch that finds nothing leaves it, which takes Django a millisecond more.
            for action in actions:
                action.__dict__.setdefault("_prefetched_objects_cache", {})[name] = nothing

    @property
    def holds(self) -> Holds:
        return holding.holds() if self.held else Holds.none()


def of(action_ids: Iterable[UUID]) -> Aside:
    """As of one snapshot. Whatever is there later was announced later."""
    with connection.cursor() as sql:
        sql.execute(_ASKED, {"actions": list(action_ids)})
        return Aside(*sql.fetchone())
