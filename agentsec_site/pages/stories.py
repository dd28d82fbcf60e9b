"""What the session page tells: the steps in order with who and when, and each action with its decisions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Count, Q

from approvals import word
from approvals.models import Action, Execution, Vote
from approvals.origins import Authority, authorities
from approvals.presenters import STATE_LOOK
from policies.models import Agent, Grant, User
from traces import explore, presenters, record, seal
from traces.models import Entry, Session

MAX_ACTIONS = 200
WIDTH = 1_000  # of the waterfall's drawing
_LOOKS = {
    "danger": "blocked rejected reject failed revoke_failed refused interrupted erased",
    "wait": "labelled pending",
    "info": "judged ready edited",
    "ok": "approve succeeded",
    "run": "running minted",
}
_LOOK_OF = {word: look for look, words in _LOOKS.items() for word in words.split()}
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ACTOR = re.compile(r"(agent|user|key):(\d+)")


@dataclass(frozen=True)
class Step:
    """One entry as a row: `offset` is seconds since the session began."""

    entry: Entry
    who: str
    offset: float
    line: str
    words: tuple[presenters.Piece, ...]
    erased: bool
    badge: explore.Badge
    action: str

    @property
    def look(self) -> str:
        return look(self.entry.kind)


@dataclass(frozen=True)
class Bar:
    """A stretch of the waterfall in thousandths of its width."""

    start: int
    width: int
    look: str
    what: str


@dataclass(frozen=True)
class Told:
    """An action and all that happened to it. `rules` are the texts of the rules as the log has them."""

    action: Action
    rules: Mapping[str, str]
    matched: Sequence[Mapping[str, Any]]
    authority: tuple[Authority, ...]
    votes: Sequence[Vote]
    executions: Sequence[Execution]
    grants: Sequence[Grant]
    bars: tuple[Bar, ...]

    @property
    def look(self) -> str:
        return STATE_LOOK[self.action.state]


@dataclass(frozen=True)
class Actions:
    """The session's newest actions in time order; `missing` is how many older ones are not here."""

    told: Sequence[Told]
    missing: int
    start: datetime
    end: datetime


def look(kind: str) -> str:
    """The colour that a kind of entry is shown in."""
    return _LOOK_OF.get(kind.rpartition(".")[2], "muted")


def steps(session: Session, chain: explore.Chain) -> list[Step]:
    """The rows of a chain."""
    names = actor_names(entry.actor for entry in chain.entries)
    tools = _tools({entry.action_id for entry in chain.entries if entry.action_id})
    return [
        Step(
            entry=entry,
            who=names.get(entry.actor, entry.actor),
            offset=(entry.at - session.started_at).total_seconds(),
            line=entry.span.title if hasattr(entry, "span") else "",
            words=_words(entry),
            erased=entry.subject_key.wrapped is None,
            badge=explore.badge(entry, chain.covered),
            action=tools.get(entry.action_id or "", ""),
        )
        for entry in chain.entries
    ]


def _words(entry: Entry) -> tuple[presenters.Piece, ...]:
    """The beginning of what was said, for entries whose title only says that something was."""
    said = entry.kind.startswith(("session.", "vote.")) and hasattr(entry, "span")
    return tuple(presenters.snippet(entry.span.text, "")) if said else ()


def _tools(action_ids: set[str]) -> dict[str, str]:
    """Action id → its tool, of those that are actions of this site."""
    known = [UUID(key) for key in action_ids if _UUID.fullmatch(key)]
    return {str(key): tool for key, tool in Action.objects.filter(pk__in=known).values_list("pk", "tool")}


def with_counts(sessions: Sequence[Session]) -> list[dict[str, Any]]:
    """Sessions with how many actions they have, and how many of those wait for people."""
    rows = Action.objects.filter(session__in=[session.pk for session in sessions]).values_list("session")
    waiting = Count("pk", filter=Q(state=Action.State.PENDING))
    counts = {key: (total, open_) for key, total, open_ in rows.annotate(total=Count("pk"), waiting=waiting)}
    found = ((session, counts.get(session.pk, (0, 0))) for session in sessions)
    return [{"session": session, "actions": total, "waiting": open_} for session, (total, open_) in found]


def actor_names(actors: Iterable[str]) -> dict[str, str]:
    """Actors as the log has them (user:5, agent:7) → the names they have now."""
    wanted = set(actors)
    found = {actor: match for actor in wanted if (match := _ACTOR.fullmatch(actor))}
    people = User.objects.filter(pk__in=_ids(found.values(), "user")).values_list("pk", "username")
    agents = Agent.objects.filter(pk__in=_ids(found.values(), "agent")).values_list("pk", "name")
    named = {("user", key): name for key, name in people} | {("agent", key): name for key, name in agents}
    known = {actor: named.get((match[1], int(match[2])), actor) for actor, match in found.items()}
    return known | {actor: said for actor in wanted if (said := word.speaker(actor))}


def _ids(found: Iterable[re.Match[str]], kind: str) -> list[int]:
    return [int(match[2]) for match in found if match[1] == kind and len(match[2]) < 19]


def actions(session: Session, *, now: datetime) -> Actions:
    """Each action of a session with its reasons, votes, grants and runs, in a constant number of queries."""
    rows = Action.objects.filter(session=session).prefetch_related("votes__user", "words", "executions")
    found = list(rows.order_by("-created_at", "-pk")[:MAX_ACTIONS])[::-1]
    total = rows.count() if len(found) == MAX_ACTIONS else len(found)
    end = max([session.last_at, *(until(action, now) for action in found)])
    grants = _grants(found)
    rules = _rules(found)
    told = [
        Told(
            action=action,
            rules=rules.get(str(action.pk), {}),
            matched=[_plain(match) for match in action.verdict["matched"]],
            authority=authorities(action),
            votes=list(action.votes.all()),
            executions=list(action.executions.all()),
            grants=grants.get(action.pk, []),
            bars=bars(action, session.started_at, end, now),
        )
        for action in found
    ]
    return Actions(told, total - len(found), session.started_at, end)


def _plain(match: Mapping[str, Any]) -> dict[str, Any]:
    """A match whose reason does not begin with the name that is shown beside it."""
    return {**match, "why": match["why"].removeprefix(f"{match['name']}: ")}


def until(action: Action, now: datetime) -> datetime:
    """The moment up to which an action's bar is drawn."""
    return now if action.is_open else action.changed_at


def _grants(found: Sequence[Action]) -> dict[Any, list[Grant]]:
    grouped: dict[Any, list[Grant]] = {}
    for grant in Grant.objects.filter(action_id__in=[action.pk for action in found]).order_by("minted_at"):
        grouped.setdefault(grant.action_id, []).append(grant)
    return grouped


def _rules(found: Sequence[Action]) -> dict[str, Mapping[str, str]]:
    """The rules' texts as they were written into the log with each action's newest judgement."""
    kinds = ["action.judged", "action.edited"]
    judged = Entry.objects.filter(action_id__in=[str(a.pk) for a in found], kind__in=kinds).order_by("id")
    texts: dict[str, Mapping[str, str]] = {}
    for entry in judged.select_related("subject_key"):
        texts[str(entry.action_id)] = _opened(entry).get("rules") or {}
    return texts


def _opened(entry: Entry) -> Mapping[str, Any]:
    """The body of an entry; nothing where it is erased or does not open, which its own row then says."""
    try:
        body = record.open_payload(entry)
    except seal.Tampered:
        return {}
    return {} if isinstance(body, record.Erased) else body


def bars(action: Action, start: datetime, end: datetime, now: datetime) -> tuple[Bar, ...]:
    """Waiting and running of one action on the time between `start` and `end`."""
    runs = list(action.executions.all())
    asked = runs[0].started_at if runs else until(action, now)
    found = [_bar(action.created_at, asked, start, end, "wait" if action.groups else "muted", "waited")]
    for run in runs:
        state = STATE_LOOK[action.state] if run is runs[-1] else "danger"
        found.append(_bar(run.started_at, run.ended_at or now, start, end, state, "ran"))
    return tuple(found)


def _bar(first: datetime, last: datetime, start: datetime, end: datetime, look: str, what: str) -> Bar:
    whole = max((end - start).total_seconds(), 0.001)
    left = min(WIDTH - 4, max(0, round(WIDTH * (first - start).total_seconds() / whole)))
    long = max(0.0, (last - first).total_seconds())
    return Bar(left, max(4, min(WIDTH - left, round(WIDTH * long / whole))), look, f"{what} {long:.1f} s")
