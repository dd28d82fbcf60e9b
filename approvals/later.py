"""Later: a call that is judged and asked now, and that runs at a time of its own.

Its approval holds until `not_before` and the tool's window after it. Until then it is looked at again and
again: what would not let it start (a release that blocks it, a changed tool, a voter who left) ends it, or
asks people again, as soon as it is so and not at the moment it should run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings

from approvals import sworn
from approvals.models import Action
from policies import releases
from policies.tooling import ToolDef
from traces import dbtime
from traces.problems import Refused

S = Action.State
START_WINDOW = timedelta(hours=1)
# What the undo of a browser's approval puts off is no plan of anybody's.
PUT_OFF = timedelta(seconds=10)
# Two hosts whose clocks are kept may differ by this much.
CLOCKS_APART = timedelta(seconds=5)
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """When it runs, and until when it may start after that."""

    at: datetime
    until: datetime

    def to_json(self) -> dict[str, str]:
        return {"not_before": self.at.isoformat(), "start_by": self.until.isoformat()}


def planned_at(action: Action) -> datetime | None:
    """When an open action runs, if that is still to come and somebody's plan."""
    at = action.not_before
    if at is None or action.state not in (S.PENDING, S.READY) or at <= dbtime.now() + PUT_OFF:
        return None
    return at


def plan(action: Action) -> Plan | None:
    """The same, with until when its approval holds; of what waits for people, once they have approved."""
    at = planned_at(action)
    if at is None:
        return None
    return Plan(at, action.deadline if action.state == S.READY else at + window_of(action))


def window(config: Mapping[str, Any]) -> timedelta:
    """For how long after its time a call of this tool may still start."""
    minutes = config.get("start_minutes")
    return timedelta(minutes=minutes) if isinstance(minutes, int) and minutes > 0 else START_WINDOW


def window_of(action: Action) -> timedelta:
    """The same, by the tool's definition as it is now."""
    return window(releases.current().tool(action.tool).config)


def start_by(action: Action, *, now: datetime, not_before: datetime | None) -> datetime:
    """Until when a call that may run now, or from `not_before` on, must have started."""
    return max(now, not_before or now) + window_of(action)


def ask_until(action: Action, *, now: datetime, seconds: float) -> datetime:
    """Until when people may answer who are asked again: as the rule says, and at least until its time."""
    return max(now + timedelta(seconds=seconds), action.not_before or now)


def refuse(not_before: datetime | None, *, now: datetime) -> None:
    """Raises Refused("invalid") for a time that is too far away."""
    most = settings.AGENTSEC_LATER_DAYS
    if not_before is None or not_before <= now + timedelta(days=most):
        return
    if not most:
        raise Refused("invalid", "not_before cannot be used here: nothing may be put off")
    raise Refused("invalid", f"not_before may be at most {most} days ahead")


def contradiction(action: Action, tool: ToolDef) -> str:
    """Where the log says something else than the row about when it may run; empty if nowhere. The row alone
    could be brought forward, or an old approval be made to last.
    """
    wanted = _wanted(action)
    if wanted is not None and (action.not_before is None or action.not_before < wanted):
        return "the log holds a later time to run it: the action was altered outside agentsec"
    ready = next(sworn.sealed(action_id=str(action.pk), kind="action.ready"), None)
    at = _moment(ready[0].get("at")) if ready else None
    if at is None:
        return "the log does not hold when it became ready: the action was altered outside agentsec"
    put_off = at + timedelta(seconds=settings.AGENTSEC_UNDO_SECONDS)
    if dbtime.now() > max(put_off, wanted or put_off) + window(tool.config) + CLOCKS_APART:
        return "by the log its time to start is over: the action was altered outside agentsec"
    return ""


def _wanted(action: Action) -> datetime | None:
    """The time that the agent asked for, as the log holds it."""
    found = next(sworn.sealed(action_id=str(action.pk), kind="action.proposed"), None)
    return _moment(found[1].get("not_before")) if found else None


def _moment(text: Any) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None


class Watch:
    """Which planned action was looked at when, and under which release; a new clock begins anew."""

    EVERY_SECONDS, BATCH = 60.0, 50

    def __init__(self) -> None:
        self._seen: dict[UUID, tuple[float, str]] = {}

    def due(self, now: datetime) -> list[UUID]:
        """The planned actions to look at now, the soonest to run first; they count as looked at."""
        release, moment = releases.current().digest, time.monotonic()
        planned = Action.objects.filter(state=S.READY, not_before__gt=now + PUT_OFF)
        keys = list(planned.order_by("not_before").values_list("pk", flat=True))
        self._seen = {key: self._seen[key] for key in keys if key in self._seen}
        found = [key for key in keys if self._stale(key, release, moment)][: self.BATCH]
        self._seen |= dict.fromkeys(found, (moment, release))
        return found

    def _stale(self, key: UUID, release: str, moment: float) -> bool:
        at, seen = self._seen.get(key, (float("-inf"), ""))
        return seen != release or moment - at >= self.EVERY_SECONDS
