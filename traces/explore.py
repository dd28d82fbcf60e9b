"""What the trace pages ask of the log: who may see what as a `Scope`, facets, sessions in pages, chains.

Whoever calls decides the scope; nothing here knows of people or roles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db.models import Count, Q

from traces import problems, search
from traces.models import Checkpoint, Entry, EntryQuerySet, Leaf, Session, SessionQuerySet, Span

SAMPLE = 2_000  # facets count the newest matches only, so that their cost does not grow with the log
FACETS = 15
PAGE = 50
STEPS = 300


@dataclass(frozen=True)
class Scope:
    """What a reader may see: all of `teams` (None: all there is), and `sessions` (ids, or a query of ids)."""

    teams: frozenset[str] | None
    sessions: Any = ()

    def of_sessions(self) -> SessionQuerySet:
        return Session.objects.visible_to(self.teams, self.sessions)


@dataclass(frozen=True)
class Wish:
    """A search as its address says it; what is empty does not filter."""

    q: str = ""
    kind: str = ""
    agent: str = ""
    team: str = ""
    session: str = ""
    action: str = ""
    since: datetime | None = None

    def filters(self) -> Mapping[str, Any]:
        return vars(self)


@dataclass(frozen=True)
class Facet:
    """One value to narrow a search by, and how many of the newest matches have it."""

    value: str
    label: str
    count: int


@dataclass(frozen=True)
class Facets:
    """`complete` says that the counts are of all matches, not of the newest `SAMPLE`."""

    kinds: Sequence[Facet]
    agents: Sequence[Facet]
    teams: Sequence[Facet]
    complete: bool


@dataclass(frozen=True)
class SessionPage:
    """Sessions, newest first; `before` is the keyset of the next older page, "" at the end."""

    sessions: Sequence[Session]
    before: str


@dataclass(frozen=True)
class Chain:
    """A run of a session's entries in order; `after` is the keyset of what follows, None at the end.

    `covered` is the size of the newest signed checkpoint: leaves below it are provable.
    """

    entries: Sequence[Entry]
    after: int | None
    covered: int


def find(scope: Scope, wish: Wish, *, before: int | None = None, after: int | None = None) -> search.Page:
    """One page of a search within a scope. Raises Invalid for an impossible page."""
    return search.query(
        teams=scope.teams, sessions=scope.sessions, before=before, after=after, limit=PAGE, **wish.filters()
    )


def facets(scope: Scope, wish: Wish) -> Facets:
    """Kinds, agents and teams among the newest matches."""
    newest = search.matching(teams=scope.teams, sessions=scope.sessions, **wish.filters())
    ids = list(newest.order_by("-entry_id").values_list("entry_id", flat=True)[:SAMPLE])
    sample = Span.objects.filter(entry_id__in=ids)
    agents = _counts(sample, "agent_id")
    names = agent_names(value for value, _ in agents)
    return Facets(
        kinds=[Facet(value, value, count) for value, count in _counts(sample, "kind")],
        agents=[Facet(value, names.get(value, value), count) for value, count in agents],
        teams=[Facet(value, value, count) for value, count in _counts(sample, "team")],
        complete=len(ids) < SAMPLE,
    )


def _counts(sample: Any, column: str) -> list[tuple[str, int]]:
    counted = sample.exclude(**{column: ""}).values_list(column).annotate(n=Count("*")).order_by("-n", column)
    return list(counted[:FACETS])


def agent_names(ids: Iterable[str]) -> dict[str, str]:
    """The name that each agent had in its newest session."""
    rows = Session.objects.filter(agent_id__in=set(ids)).order_by("agent_id", "-last_at")
    return dict(rows.distinct("agent_id").values_list("agent_id", "agent_name"))


def sessions(scope: Scope, *, q: str = "", label: str = "", before: str = "") -> SessionPage:
    """One page of sessions within a scope; `q` is looked for in purpose, agent, user and external id.

    Raises Invalid for a keyset that no page gave.
    """
    rows = scope.of_sessions().newest_first()
    if q.strip():
        words = q.strip().replace("\x00", "")[: search.MAX_WORDS]
        columns = ("purpose", "agent_name", "user", "external_id")
        rows = rows.filter(Q(*[(f"{column}__icontains", words) for column in columns], _connector=Q.OR))
    if label:
        rows = rows.filter(labels__contains=[label])
    if before:
        at, key = _keyset(before)
        rows = rows.filter(Q(last_at__lt=at) | Q(last_at=at, pk__lt=key))
    found = list(rows[: PAGE + 1])
    last = found[PAGE - 1] if len(found) > PAGE else None
    return SessionPage(found[:PAGE], f"{last.last_at.isoformat()}~{last.pk}" if last else "")


def _keyset(before: str) -> tuple[datetime, UUID]:
    at, _, key = before.partition("~")
    try:
        moment, identity = datetime.fromisoformat(at), UUID(key)
        # Not every offset that Python reads is one that PostgreSQL takes.
        placed = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise problems.Invalid("There is no such page of sessions.") from None
    if moment.tzinfo is None:
        raise problems.Invalid("There is no such page of sessions.")
    return placed, identity


def chain(session: Session, *, after: int = 0) -> Chain:
    """A session's entries after a place in its chain, with span and leaf, in a constant number of queries."""
    # Sealed bytes are shown of one entry at a time; three hundred of them may be hundreds of mebibytes.
    rows = with_proof(Entry.objects.of_session(session.pk)).filter(seq__gt=after).defer("sealed")
    found = list(rows[: STEPS + 1])
    return Chain(found[:STEPS], found[STEPS - 1].seq if len(found) > STEPS else None, covered())


def with_proof(entries: EntryQuerySet) -> EntryQuerySet:
    return entries.select_related("span", "leaf", "subject_key", "session")


def covered() -> int:
    """The size of the newest signed checkpoint."""
    newest = Checkpoint.objects.newest()
    return newest.size if newest else 0


@dataclass(frozen=True)
class Badge:
    """Where an entry stands in the log: `index` in the tree, under a checkpoint of `size`, or not yet."""

    index: int | None
    size: int = 0

    @property
    def proved(self) -> bool:
        return self.index is not None and self.index < self.size


def badge(entry: Entry, size: int) -> Badge:
    """The proof badge of an entry that `with_proof` read."""
    leaf: Leaf | None = getattr(entry, "leaf", None)
    if leaf is None or bytes(leaf.hash) != bytes(entry.leaf_hash):
        return Badge(None, size)
    return Badge(leaf.index, size)


@dataclass(frozen=True)
class Labelling:
    """When a label came or went, and why."""

    at: datetime
    label: str
    why: str
    entry: Entry = field(repr=False)
    cleared: bool = False


def labellings(session: Session) -> list[Labelling]:
    """The history of a session's labels, from its entries."""
    kinds = ["session.labelled", "session.cleared"]
    found = []
    for entry in Entry.objects.of_session(session.pk).filter(kind__in=kinds).select_related("span"):
        span = getattr(entry, "span", None)
        told = span.attributes if span else {}
        for label in [*told.get("labels", ()), *([told["label"]] if "label" in told else ())]:
            why = span.text if span else ""
            found.append(Labelling(entry.at, str(label), why, entry, entry.kind == "session.cleared"))
    return found
