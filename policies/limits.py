"""What an agent may do at most: its mode, its rates, its budget, and the kill switch."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from django.db import connection, transaction
from django.db.models import F, Sum

from policies import foureyes
from policies.facts import UsageFacts
from policies.models import Agent, Switch, Tool, Usage
from traces import dbtime, live, record
from traces.problems import Refused

PENDING_RETRY = 15
KEEP = {"minute": timedelta(hours=1), "text": timedelta(hours=1), "day": timedelta(days=400)}
EVERYTHING = "all"
# Octets of text that one agent may have inspected a minute, which takes a second or more a mebibyte.
TEXT_A_MINUTE = 16 << 20
KINDS = ("agent", "group", "tool")
MAX_SCOPE = 160
SWITCH_TOPIC = "switch"


class Declared(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def effect(self) -> str: ...


def admit(agent: Agent, *, now: datetime, pending: int | Callable[[], int], tool: str = "") -> UsageFacts:
    """Let one more action of this agent in and count it; the usage with it counted.

    Needs a transaction. Locks the agent's row until commit, so that limits hold however many calls come at
    once; a callable `pending` is asked under that lock. Raises Refused: forbidden (paused, kill switch),
    limit with `retry_after` in seconds.
    """
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("admit needs the transaction of the action it lets in")
    current = Agent.objects.select_for_update(no_key=True).get(pk=agent.pk)
    check_running(current, tool=tool)
    waiting = pending() if callable(pending) else pending
    minute, day = starts(now)
    counts = _counts(current, minute, day)
    _refuse_beyond(current, counts, waiting, now)
    _count(current, "minute", minute)
    _count(current, "day", day)
    return UsageFacts(minute=counts["minute"] + 1, day=counts["day"] + 1, pending=waiting)


def admit_text(agent: Agent, *, octets: int) -> None:
    """Let that much more text of this agent in to be inspected, and count it.

    Locks the agent's counter until commit. Raises Refused("limit") with `retry_after` in seconds.
    """
    now = dbtime.now()
    minute, _ = starts(now)
    with transaction.atomic():
        row = _window(agent, "text", minute)
        room = Usage.objects.filter(pk=row.pk, count__lte=TEXT_A_MINUTE - octets)
        admitted = room.update(count=F("count") + octets)
    if not admitted:
        most, over = f"{TEXT_A_MINUTE >> 20} MiB of text a minute", minute + timedelta(minutes=1)
        _limit(most, seconds(now, over), "text")


def check_running(agent: Agent, *, tool: str = "") -> None:
    """Raise Refused("forbidden") where `held` has a reason."""
    why = _held(agent, tool)
    if why:
        raise Refused("forbidden", f"{why[0].upper()}{why[1:]}.")


def held(agent: Agent, tool: Declared) -> str:
    """Why nothing of this agent, or with this tool, may start now: paused, or the kill switch; "" if nothing.

    Asked when an action comes in and again when it starts. `agent.mode` is taken as it is: pass a fresh row.
    """
    return _held(agent, tool.name)


def mode_block(agent: Agent, tool: Declared) -> str | None:
    """Why the agent's mode blocks this tool, whatever the rules say; None where it does not."""
    if agent.mode == Agent.Mode.READ_ONLY and tool.effect != Tool.Effect.READ:
        return f"the agent {agent.name} may only read, and {tool.name} counts as {tool.effect}"
    if agent.mode == Agent.Mode.PAUSED:
        return f"the agent {agent.name} is paused"
    return None


def count_refusal(agent: Agent) -> int:
    """Count a call of this agent that was refused; how many there were today. For after the rollback."""
    _, day = starts(dbtime.now())
    with transaction.atomic():
        Agent.objects.select_for_update(no_key=True).get(pk=agent.pk)
        row, _ = Usage.objects.get_or_create(agent=agent, window="day", starts_at=day)
        Usage.objects.filter(pk=row.pk).update(refused=F("refused") + 1)
    return row.refused + 1


def usage(agent: Agent, *, now: datetime) -> UsageFacts:
    """What was counted so far, for showing; `pending` is the caller's to know and 0 here."""
    return UsageFacts(**_counts(agent, *starts(now)))


def refused_since(since: datetime) -> int:
    """How many calls were refused, all agents together."""
    rows = Usage.objects.filter(window="day", starts_at__gte=since)
    return rows.aggregate(total=Sum("refused"))["total"] or 0


def stop(*, scope: str, reason: str, by: str) -> Switch:
    """Throw the kill switch: `all`, `agent:NAME`, `group:NAME` (the team's agents) or `tool:NAME`.

    Appends `switch.thrown`. Raises Refused("invalid") for anything else.
    """
    kind, _, name = scope.partition(":")
    if scope != EVERYTHING and not (kind in KINDS and name) or len(scope) > MAX_SCOPE or "\x00" in scope:
        raise Refused("invalid", "The kill switch stops all, agent:NAME, group:NAME or tool:NAME.")
    reason = reason.replace("\x00", "")[:500]
    with transaction.atomic():
        switch, _ = Switch.objects.update_or_create(scope=scope, defaults={"reason": reason, "by": by})
        body, title = {"scope": scope, "reason": reason}, f"Kill switch: {scope} stopped"
        record.append(kind="switch.thrown", actor=by, body=body, title=title, text=reason)
        live.publish(SWITCH_TOPIC, {"type": "switch", "id": switch.pk})
    return switch


def lift(*, scope: str, by: str) -> None:
    """Lift the kill switch. Appends `switch.lifted`. Raises Refused("not_found") where it was not thrown."""
    with transaction.atomic():
        before = thrown_as(scope)
        if before is not None:
            foureyes.gate(foureyes.Wish("switch", scope, f"let {scope} run again", before, None), by=by)
        if not Switch.objects.filter(scope=scope).delete()[0]:
            raise Refused("not_found", f"The kill switch does not stop {scope}.")
        title = f"Kill switch: {scope} runs again"
        record.append(kind="switch.lifted", actor=by, body={"scope": scope}, title=title)
        live.publish(SWITCH_TOPIC, {"type": "switch", "id": 0})


def thrown_as(scope: str) -> dict[str, str] | None:
    """Why, by whom and when this switch was thrown; None where it is not."""
    switch = Switch.objects.filter(scope=scope).first()
    return {"reason": switch.reason, "by": switch.by, "at": switch.at.isoformat()} if switch else None


def thrown(agent: Agent, *, tool: str = "") -> Switch | None:
    """The switch that stops this agent, its group, this tool or everything; asked of the database anew."""
    return Switch.objects.filter(scope__in=scopes(agent, tool=tool)).order_by("scope").first()


def scopes(agent: Agent, *, tool: str = "") -> list[str]:
    """Every scope whose switch stops this agent with this tool, in the order in which one is told."""
    named = [EVERYTHING, f"agent:{agent.name}", *([f"group:{agent.team.name}"] if agent.team else [])]
    return [*named, *([f"tool:{tool}"] if tool else [])]


def stopped_by(switch: Switch) -> str:
    """The switch in words, in the middle of a sentence."""
    what = "everything" if switch.scope == EVERYTHING else switch.scope.replace(":", " ", 1)
    return f"the kill switch stops {what}{f': {switch.reason}' if switch.reason else ''}"


def _held(agent: Agent, tool: str) -> str:
    if agent.mode == Agent.Mode.PAUSED:
        return f"the agent {agent.name} is paused"
    switch = thrown(agent, tool=tool)
    if switch is not None:
        return stopped_by(switch)
    if tool and Tool.objects.filter(name=tool, paused=True).exists():
        return f"the tool {tool} is paused"
    return ""


def pause_tool(*, tool: Tool, paused: bool, by: str) -> None:
    """Let nothing use a tool from now on, or let it be used again; no release is needed for that.

    Appends `tool.paused` or `tool.resumed` if it changed.
    """
    with transaction.atomic():
        if Tool.objects.filter(pk=tool.pk).exclude(paused=paused).update(paused=paused):
            word = "paused" if paused else "resumed"
            title = f"Tool {tool.name} {word}"
            record.append(kind=f"tool.{word}", actor=by, body={"tool": tool.name}, title=title)


def starts(now: datetime) -> tuple[datetime, datetime]:
    """When the minute and the day of a moment began, in UTC."""
    utc = now.astimezone(UTC)
    return utc.replace(second=0, microsecond=0), utc.replace(hour=0, minute=0, second=0, microsecond=0)


def _counts(agent: Agent, minute: datetime, day: datetime) -> dict[str, int]:
    rows = Usage.objects.filter(agent=agent, starts_at__in=[minute, day])
    found = {(row.window, row.starts_at): row.count for row in rows}
    return {"minute": found.get(("minute", minute), 0), "day": found.get(("day", day), 0)}


def _refuse_beyond(agent: Agent, counts: dict[str, int], waiting: int, now: datetime) -> None:
    minute, day = starts(now)
    if counts["minute"] >= agent.actions_per_minute:
        over = minute + timedelta(minutes=1)
        _limit(f"{agent.actions_per_minute} actions a minute", seconds(now, over), "per_minute")
    if counts["day"] >= agent.actions_per_day:
        _limit(f"{agent.actions_per_day} actions a day", seconds(now, day + timedelta(days=1)), "per_day")
    if waiting >= agent.pending:
        _limit(f"{agent.pending} actions waiting for people", PENDING_RETRY, "pending")


def _limit(what: str, retry_after: int, ceiling: str) -> None:
    raise Refused("limit", f"This agent's limit is {what}.", retry_after=retry_after, ceiling=ceiling)


def seconds(now: datetime, until: datetime) -> int:
    """How long to wait, in whole seconds, at least one."""
    return max(1, math.ceil((until - now).total_seconds()))


def _count(agent: Agent, window: str, starts_at: datetime) -> None:
    row = _window(agent, window, starts_at)
    Usage.objects.filter(pk=row.pk).update(count=F("count") + 1)


def _window(agent: Agent, window: str, starts_at: datetime) -> Usage:
    row, created = Usage.objects.get_or_create(agent=agent, window=window, starts_at=starts_at)
    if created:
        # A new window is the moment to forget old ones, so that nothing else has to sweep this table.
        Usage.objects.filter(agent=agent, window=window, starts_at__lt=starts_at - KEEP[window]).delete()
    return row
