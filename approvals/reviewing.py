"""The action that a reviewer wants to do something about, short of deciding it: theirs, and still open."""

from __future__ import annotations

from uuid import UUID

from approvals import states
from approvals.models import Action
from policies.access import Verb, may
from policies.models import User
from traces import dbtime
from traces.problems import Refused

LONGEST_COMMENT = 10_000


def worded(text: str, *, longest: int, empty: str = "", field: str = "text") -> str:
    """What somebody wrote, as it is kept. Raises Refused("invalid") where it is too long, holds what the
    database does not take, or is empty although `empty` says what is wanted; its `extra` names the `field`.
    """
    said = text.replace("\r\n", "\n").strip()
    if empty and not said:
        raise Refused("invalid", empty, field=field)
    if len(said) > longest:
        raise Refused("invalid", f"at most {longest} characters, not {len(said)}", field=field)
    if "\0" in said or any("\ud800" <= character <= "\udfff" for character in said):
        raise Refused("invalid", "the text holds a character that cannot be kept", field=field)
    return said


def comment(text: str) -> str:
    """A comment on a vote, as it is signed and kept. Raises Refused("invalid") as worded."""
    return worded(text, longest=LONGEST_COMMENT, field="comment")


def theirs(user: User, action_id: UUID | str) -> Action:
    """The action with its row locked, if this person may decide it, whatever its state. Raises Refused:
    not_found (for who may not see it), forbidden (who only reads along).
    """
    action = states.lock(action_id)
    about = {"team": action.team, "groups": action.groups}
    if not may(user, Verb.ACTION_READ, **about).allowed:
        raise Refused("not_found", "no such action")
    access = may(user, Verb.ACTION_DECIDE, **about)
    if not access.allowed:
        raise Refused("forbidden", access.why)
    return action


def open_for(user: User, action_id: UUID | str) -> Action:
    """The action with its row locked, if this person may decide it and it still waits.

    Raises Refused: not_found (for who may not see it), forbidden (who only reads along), conflict (decided,
    or its time is over).
    """
    action = theirs(user, action_id)
    if action.state != Action.State.PENDING:
        raise Refused("conflict", states.already(action), state=action.state, decided_by=action.decided_by)
    if action.deadline <= dbtime.now():
        raise Refused("conflict", "the time to decide is over", state=Action.State.EXPIRED)
    return action
