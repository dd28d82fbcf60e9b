"""The list that is confirmed before many are decided at once, and what is left out of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from approvals import alike, bulk, holding, presenters, queries, states, vigilance
from approvals.models import Action
from approvals.origins import SENTENCES, WORST_FIRST
from policies.access import Verb, may
from policies.models import User
from traces.problems import Refused


@dataclass(frozen=True)
class Marked:
    """An argument that says who or what is affected, and where its worst value came from."""

    name: str
    origin: str
    sentence: str


@dataclass(frozen=True)
class Line:
    """One action of the list; `why_not` says why it is left out, empty if it is not."""

    row: presenters.Row
    origins: tuple[Marked, ...]
    why_not: str

    @property
    def item(self) -> str:
        """What the page sends back: which action, and what was seen of it."""
        return f"{self.row.action.pk}:{self.row.action.digest}"


@dataclass(frozen=True)
class Heap:
    """The list that a person confirms or leaves."""

    verdict: str
    lines: tuple[Line, ...]
    served: str

    @property
    def taken(self) -> list[Line]:
        return [line for line in self.lines if not line.why_not]

    @property
    def left_out(self) -> list[Line]:
        return [line for line in self.lines if line.why_not]


def heap(user: User, verdict: str, wanted: Iterable[str]) -> Heap:
    """The list of these actions, as far as this person may see them, in the order of the inbox.

    A constant number of queries. Raises Refused("invalid") for too many, or another verdict.
    """
    bulk.refuse_verdict(verdict)
    keys = _keys(wanted)
    if len(keys) > bulk.MOST:
        raise Refused("invalid", f"at most {bulk.MOST} actions at once, not {len(keys)}")
    rows = queries.visible(user).filter(pk__in=keys).order_by("deadline", "id")
    actions = list(rows.prefetch_related("votes"))
    waiting = [action for action in actions if action.state == Action.State.PENDING]
    same = Counter(map(bulk.sameness, waiting)).most_common(1)
    holds = holding.holds()
    lines = tuple(
        Line(
            presenters.row(action, holds), _origins(action),
            _why_not(action, user, verdict, same[0][0] if same else ""),
        )
        for action in actions
    )  # fmt: skip
    digests = [line.row.action.digest for line in lines if not line.why_not]
    return Heap(verdict, lines, vigilance.stamp(user, vigilance.about_all(digests)))


def _keys(wanted: Iterable[str]) -> Sequence[UUID]:
    """The ids among what an address may say; what is none is nobody's."""
    found = []
    for text in wanted:
        try:
            found.append(UUID(text))
        except ValueError:
            continue
    return list(dict.fromkeys(found))


def _origins(action: Action) -> tuple[Marked, ...]:
    said: dict[str, str] = json.loads(action.facts_json).get("authority", {})
    marked = [Marked(name, origin, SENTENCES.get(origin, origin)) for name, origin in said.items()]
    rank = {origin: place for place, origin in enumerate(WORST_FIRST)}
    return tuple(sorted(marked, key=lambda item: rank.get(item.origin, 0)))


def _why_not(action: Action, user: User, verdict: str, same: str) -> str:
    if action.state != Action.State.PENDING:
        return states.already(action)
    access = may(user, Verb.ACTION_DECIDE, team=action.team, groups=action.groups)
    if not access.allowed:
        return access.why
    if any(vote.user_id == user.pk and not vote.void for vote in action.votes.all()):
        return "you have voted on it already"
    if bulk.sameness(action) != same:
        return f"it is not like the others: asked by {', '.join(alike.rules_of(action.approvals_json))}"
    return bulk.taken(action, user) or (bulk.barred(action) if verdict == "approve" else "")
