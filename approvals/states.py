"""The life of an action: which state may follow which, and the one way to change it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction

from approvals import feed, notify
from approvals.models import Action
from policies import budgets
from traces import dbtime, live, record
from traces.models import Entry
from traces.problems import Refused

S = Action.State

FOLLOWS: dict[str, frozenset[str]] = {
    S.BLOCKED: frozenset(),
    S.PENDING: frozenset({S.READY, S.REJECTED, S.EXPIRED, S.CANCELLED}),
    S.READY: frozenset({S.RUNNING, S.EXPIRED, S.CANCELLED, S.PENDING}),
    S.RUNNING: frozenset({S.SUCCEEDED, S.FAILED, S.INTERRUPTED}),
    S.INTERRUPTED: frozenset({S.READY, S.PENDING}),
    S.SUCCEEDED: frozenset(),
    S.FAILED: frozenset(),
    S.REJECTED: frozenset(),
    S.EXPIRED: frozenset(),
    S.CANCELLED: frozenset(),
}
AGENTSEC = "agentsec"
# It ends without having started. A failed one may have had its effect.
NEVER_HAPPENS = frozenset({S.REJECTED, S.EXPIRED, S.CANCELLED})


def lock(action_id: UUID | str) -> Action:
    """The action with its row locked until the transaction ends. Raises Refused("not_found")."""
    rows = Action.objects.select_for_update(of=("self",), no_key=True).select_related("session", "agent")
    action = rows.filter(pk=action_id).first()
    if action is None:
        raise Refused("not_found", "no such action")
    return action


def move(
    action: Action,
    *,
    to: str,
    actor: str,
    body: Mapping[str, Any] | None = None,
    where: Mapping[str, Any] | None = None,
    title: str = "",
    **fields: Any,
) -> Entry:
    """Change the state of an action by one guarded UPDATE, and append `action.<state>`.

    Takes the row lock of the action (by the UPDATE), then that of its session (by the log). `where` narrows
    the
    guard, `fields` are set along. Raises Refused("conflict"), naming who was first, when another change won,
    and
    ValueError for a change that the life of an action does not know.
    """
    before = action.state
    if to not in FOLLOWS[before]:
        raise ValueError(f"{before} is never followed by {to}")
    now = dbtime.now()
    if to == S.PENDING:
        # The clock looks at it next, and finds when others are to be asked, counted from now.
        fields = {"escalates_at": now, **fields}
    guarded = Action.objects.filter(pk=action.pk, state=before, revision=action.revision, **(where or {}))
    if guarded.update(state=to, changed_at=now, **fields) != 1:
        action.refresh_from_db()
        raise Refused("conflict", already(action), state=action.state, decided_by=action.decided_by)
    for name, value in {"state": to, "changed_at": now, **fields}.items():
        setattr(action, name, value)
    if to in NEVER_HAPPENS:
        # After commit, since whoever decides holds the session already, which comes after limits. If this
        # process dies in between, the sum stays taken until its day is over.
        transaction.on_commit(partial(budgets.give_back, action_id=action.pk), robust=True)
    # Before the log's own announcements, which page after page of traces hears and nobody waits for.
    announce(action)
    _notify(action, before)
    told = {"from": before, "to": to, "revision": action.revision, "digest": action.digest, **(body or {})}
    return record.append(
        kind=f"action.{to}", actor=actor, session=action.session, action=str(action.pk), body=told,
        title=title or f"{action.tool}: {S(to).label.lower()}", attributes={"state": to, "tool": action.tool},
    )  # fmt: skip


def _notify(action: Action, before: str) -> None:
    """Whoever waits for it, or was told that it waits, may hear of it elsewhere than on the page."""
    if action.state == S.PENDING:
        notify.about(action, kind=notify.NoticeKind.ASKED, groups=action.groups)
    elif before == S.PENDING:
        notify.about(action, kind=notify.NoticeKind.DECIDED, groups=action.groups)


def announce(action: Action) -> None:
    """Tell every page and long poll that the action changed: ids only, after commit."""
    told = {"type": "action", "id": str(action.pk), "state": action.state}
    more = {"groups": action.groups, "team": action.team, "session": str(action.session_id)}
    feed.note(action)
    live.publish("inbox", told | more)
    live.publish(f"action:{action.pk}", told)


def already(action: Action) -> str:
    """One sentence for whoever came second."""
    by = f" by {action.decided_by}" if action.decided_by else ""
    return f"this action is already {S(action.state).label.lower()}{by}"
