"""The whole way of one action: each entry of the log with its proof badge, each execution, what it left."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Prefetch

from approvals import word
from approvals.models import Action, Blob, Execution
from approvals.presenters import STATE_LOOK
from policies.models import Agent, User
from traces import explore
from traces.models import Entry

# Entries whose text is what somebody said.
SAID = ("vote", "question", "action.delegated")
LOOKS = {"vote.approve": "ok", "vote.reject": "danger", "vote.undone": "wait", "action.edited": "info"}


@dataclass(frozen=True)
class Step:
    """One entry of the log about the action."""

    entry: Entry
    title: str
    text: str
    who: str
    look: str
    badge: explore.Badge


@dataclass(frozen=True)
class Journey:
    """State by state, and what ran."""

    action: Action
    steps: tuple[Step, ...]
    executions: tuple[Execution, ...]
    covered: int

    @property
    def proved(self) -> int:
        return sum(step.badge.proved for step in self.steps)

    @property
    def result_text(self) -> str:
        """The result, without the streams that are shown beside it; empty where there is none."""
        result = self.action.result
        if isinstance(result, dict) and self.executions:
            result = {key: value for key, value in result.items() if key not in ("stdout", "stderr")}
        if result in (None, "", {}):
            return ""
        return result if isinstance(result, str) else json.dumps(result, indent=2, ensure_ascii=False)


def journey(action: Action) -> Journey:
    """The way of an action so far, in a constant number of queries."""
    entries = list(explore.with_proof(Entry.objects.about(str(action.pk))))
    covered, names = explore.covered(), _names(entry.actor for entry in entries)
    # What the artifacts hold is for their download; a page that follows along would read it again and again.
    blobs = Prefetch("artifacts__blob", Blob.objects.defer("content"))
    executions = action.executions.prefetch_related(blobs)
    steps = tuple(_step(entry, names, covered) for entry in entries)
    return Journey(action, steps, tuple(executions), covered)


def _step(entry: Entry, names: dict[str, str], covered: int) -> Step:
    span = getattr(entry, "span", None)
    state = entry.kind.partition(".")[2]
    who = names.get(entry.actor) or word.speaker(entry.actor) or entry.actor
    said = span.text if span and entry.kind.startswith(SAID) else ""
    return Step(
        entry=entry, title=span.title if span else "", text=said,
        who=who, look=LOOKS.get(entry.kind, STATE_LOOK.get(state, "muted")),
        badge=explore.badge(entry, covered),
    )  # fmt: skip


def _names(actors: Iterable[str]) -> dict[str, str]:
    """The names behind "user:7" and "agent:3"; the log itself holds ids only."""
    wanted = {actor: actor.partition(":") for actor in set(actors)}
    ids = {
        kind: [key for word, _, key in wanted.values() if word == kind and key.isdecimal()]
        for kind in ("user", "agent")
    }
    users = dict(User.objects.filter(pk__in=ids["user"]).values_list("pk", "username"))
    agents = dict(Agent.objects.filter(pk__in=ids["agent"]).values_list("pk", "name"))
    return {f"user:{key}": name for key, name in users.items()} | {
        f"agent:{key}": name for key, name in agents.items()
    }
