"""Changed actions as the inbox shows them: one statement, since what a thousand people wait for is this.

The same in the query builder is five statements, and takes it three milliseconds more; as a raw query set,
half a millisecond.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from django.db import connection
from django.db.models import Model, prefetch_related_objects

from approvals import holding
from approvals.holding import Holds
from approvals.models import Action, Vote
from approvals.standing import Glance
from approvals.word_models import Word
from policies.models import Agent
from traces.models import Session

M = TypeVar("M", bound=Model)
_FIELDS = tuple(Action._meta.concrete_fields)
_NAMES = [field.attname for field in _FIELDS]
_CONVERTED: list[tuple[int, Any]] = [
    (place, field) for place, field in enumerate(_FIELDS) if hasattr(field, "from_db_value")
]
# What a row shows of its session and agent stands beside it; votes, words, switches and pauses are there for
# the fewest rows, and looked for where they are. `version` and `written` are as `feed.versioned` has them.
_BESIDE = {
    "version": "coalesce((SELECT max(c.id) FROM approvals_change c WHERE c.action_id = a.id), 0)",
    "written": "a.xmin::text || a.ctid::text",
    "session_user_": "s.user",
    "session_labels": "s.labels",
    "session_attested": "s.attested",
    "agent_name": "g.name",
    "agent_mode": "g.mode",
    "agent_team": "g.team_id",
    "has_votes": "EXISTS (SELECT FROM approvals_vote v WHERE v.action_id = a.id)",
    "has_words": "EXISTS (SELECT FROM approvals_word w WHERE w.action_id = a.id)",
    "has_holds": "EXISTS (SELECT FROM policies_switch) OR EXISTS (SELECT FROM policies_tool WHERE paused)",
}
_ROWS = f"""
    SELECT {", ".join([*(f'a."{field.column}"' for field in _FIELDS), *_BESIDE.values()])}
    FROM approvals_action a JOIN traces_session s ON s.id = a.session_id
        JOIN policies_agent g ON g.id = a.agent_id
    WHERE a.id = ANY(%s)
"""


def read(action_ids: Iterable[UUID], glance: Glance | None = None) -> list[Action]:
    """These actions with session, agent, votes and words. What was announced before is in it. The glance at
    who may hear of them goes along.
    """
    glance = glance or Glance(None)
    with connection.cursor() as sql:
        found = [_action(row) for row in glance.after(sql, _ROWS, [list(action_ids)])]
    for name, nothing in (("votes", Vote.objects.none()), ("words", Word.objects.none())):
        _prefetch([action for action in found if getattr(action, f"has_{name}")], name)
        for action in found:
            # As a prefetch leaves it that finds nothing.
            action.__dict__.setdefault("_prefetched_objects_cache", {}).setdefault(name, nothing)
    return found


def version(action: Action) -> int:
    """The number of its last change, as of the statement that read it."""
    return int(action.version)  # type: ignore[attr-defined]


def holds(actions: Sequence[Action]) -> Holds:
    """What holds now, where anything held when these were read; what is held later is announced later."""
    if not any(action.has_holds for action in actions):  # type: ignore[attr-defined]
        return Holds.none()
    _prefetch(actions, "agent__team")
    return holding.holds()


def _action(row: Sequence[Any]) -> Action:
    """An action, with its session and agent as far as a row shows them; what else is asked is read then."""
    columns = list(row[: len(_FIELDS)])
    for place, field in _CONVERTED:
        columns[place] = field.from_db_value(columns[place], None, connection)
    action = Action.from_db("default", _NAMES, columns)
    beside = dict(zip(_BESIDE, row[len(_FIELDS) :], strict=True))
    action.__dict__.update(beside)
    action.session = _loaded(
        Session, id=action.session_id, user=beside["session_user_"], labels=beside["session_labels"],
        attested=beside["session_attested"],
    )  # fmt: skip
    action.agent = _loaded(
        Agent, id=action.agent_id, name=beside["agent_name"], mode=beside["agent_mode"],
        team_id=beside["agent_team"],
    )  # fmt: skip
    return action


def _loaded(model: type[M], **columns: object) -> M:
    """A row of which these columns were read."""
    names = [field.attname for field in model._meta.concrete_fields if field.attname in columns]
    return model.from_db("default", names, [columns[name] for name in names])


def _prefetch(actions: Sequence[Action], name: str) -> None:
    if actions:
        prefetch_related_objects(actions, name)
