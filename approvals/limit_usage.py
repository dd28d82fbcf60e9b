"""Every limit with what is used of it now, when it starts anew, and who last ran into it. Six queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Count, QuerySet
from django.utils import timezone

from approvals.models import Action
from policies import limits
from policies.limit_models import Hit, Limit, Tally
from policies.models import Agent, Usage

NEARLY = 0.8  # of a ceiling: from here on it is worth a look
UNITS = {
    "per_minute": "calls this minute", "per_day": "calls today", "pending": "waiting for people",
    "text": "MiB of text this minute",
}  # fmt: skip


@dataclass(frozen=True)
class Gauge:
    """One ceiling: `used` of `most`. `resets_at` is None where people, not time, make room."""

    ceiling: str
    what: str
    used: Decimal
    most: Decimal
    resets_at: datetime | None
    hits: tuple[Hit, ...]

    @property
    def share(self) -> float:
        return float(self.used / self.most) if self.most else 1.0

    @property
    def look(self) -> str:
        if self.share >= 1:
            return "danger"
        return "wait" if self.share >= NEARLY else "ok"

    @property
    def word(self) -> str:
        return {"danger": "used up", "wait": "nearly", "ok": ""}[self.look]

    @property
    def percent(self) -> float:
        return round(100 * min(1.0, self.share), 1)

    @property
    def used_words(self) -> str:
        return _written(self.used)

    @property
    def most_words(self) -> str:
        return _written(self.most)

    @property
    def times(self) -> int:
        return sum(hit.times for hit in self.hits)

    @property
    def last(self) -> Hit | None:
        """The newest of those who ran into it."""
        return max(self.hits, key=lambda hit: hit.at, default=None)


@dataclass(frozen=True)
class Line:
    """A limit, or the limits of one agent: what it covers in words, and the page where it is edited."""

    name: str
    covers: str
    edit: str
    gauges: tuple[Gauge, ...]

    @property
    def fullest(self) -> float:
        return max((gauge.share for gauge in self.gauges), default=0.0)


@dataclass(frozen=True)
class Pending:
    """How many calls of one tool wait for people, of one agent."""

    agent: str
    group: str
    tool: str
    count: int


def of_agents(names: Sequence[str] = ()) -> tuple[Line, ...]:
    """The agents' own limits, the fullest first; of all agents, or of those named."""
    agents = Agent.objects.select_related("team")
    rows = list(agents.filter(name__in=names) if names else agents)
    now, waiting = timezone.now(), _pending()
    used, hits = _usage(rows, now), _hits(Hit.objects.filter(limit=None, agent__in=rows))
    lines = [_agent(agent, used, waiting, hits, now) for agent in rows]
    return tuple(sorted(lines, key=lambda line: (-line.fullest, line.name)))


def shared(agent: Agent | None = None) -> tuple[Line, ...]:
    """The shared limits, the fullest first; all, or those that some call of this agent comes under."""
    rows = [limit for limit in Limit.objects.all() if agent is None or _concerns(limit, agent)]
    now, waiting = timezone.now(), _pending()
    minute, day = limits.starts(now)
    tallies = Tally.objects.filter(limit__in=rows, starts_at__in=[minute, day])
    counted = {(tally.limit_id, tally.window): tally for tally in tallies if _current(tally, minute, day)}
    hits = _hits(Hit.objects.filter(limit__in=rows))
    lines = [_limit(limit, counted, waiting, hits, now) for limit in rows]
    return tuple(sorted(lines, key=lambda line: (-line.fullest, line.name)))


def _agent(
    agent: Agent,
    used: Mapping[tuple[int, str], int],
    waiting: Sequence[Pending],
    hits: Mapping[tuple[int, str], list[Hit]],
    now: datetime,
) -> Line:
    minute, day = _ends(now)
    text = Decimal(used.get((agent.pk, "text"), 0)) / (1 << 20)
    counts = (
        ("per_minute", used.get((agent.pk, "minute"), 0), agent.actions_per_minute, minute),
        ("per_day", used.get((agent.pk, "day"), 0), agent.actions_per_day, day),
        ("pending", sum(item.count for item in waiting if item.agent == agent.name), agent.pending, None),
        ("text", text.quantize(Decimal("0.1")), limits.TEXT_A_MINUTE >> 20, minute),
    )
    gauges = tuple(
        Gauge(name, UNITS[name], Decimal(count), Decimal(most), resets, tuple(hits.get((agent.pk, name), ())))
        for name, count, most, resets in counts
    )
    team = f"of {agent.team.name}" if agent.team else "of no team"
    return Line(agent.name, team, f"/admin/policies/agent/{agent.pk}/change/", gauges)


def _limit(
    limit: Limit,
    counted: Mapping[tuple[int, str], Tally],
    waiting: Sequence[Pending],
    hits: Mapping[tuple[int, str], list[Hit]],
    now: datetime,
) -> Line:
    minute, day = _ends(now)
    tally, today = counted.get((limit.pk, "minute")), counted.get((limit.pk, "day"))
    counts = (
        ("per_minute", tally.count if tally else 0, limit.per_minute, minute),
        ("per_day", today.count if today else 0, limit.per_day, day),
        ("pending", _waiting(limit, waiting), limit.pending, None),
        ("sum_per_day", today.total if today else 0, limit.sum_per_day, day),
    )
    gauges = tuple(
        Gauge(
            name, UNITS.get(name, f"of {limit.sum_of} today"), Decimal(count), Decimal(most), resets,
            tuple(hits.get((limit.pk, name), ())),
        )
        for name, count, most, resets in counts if most is not None
    )  # fmt: skip
    return Line(limit.name, _words(limit), f"/admin/policies/limit/{limit.pk}/change/", gauges)


def _written(number: Decimal) -> str:
    return f"{number:,f}".rstrip("0").rstrip(".") if number % 1 else f"{number:,.0f}"


def _words(limit: Limit) -> str:
    """What a limit covers, in words."""
    who = f"the agent {limit.agent}" if limit.agent else ""
    who = who or (f"the agents of {limit.group} together" if limit.group else "all agents together")
    return f"{who}, calling {limit.tool}" if limit.tool else who


def _concerns(limit: Limit, agent: Agent) -> bool:
    team = agent.team.name if agent.team else ""
    return limit.agent in ("", agent.name) and limit.group in ("", team)


def _waiting(limit: Limit, waiting: Sequence[Pending]) -> int:
    covered = (item for item in waiting if limit.covers(agent=item.agent, group=item.group, tool=item.tool))
    return sum(item.count for item in covered)


def _pending() -> tuple[Pending, ...]:
    columns = ("agent__name", "agent__team__name", "tool")
    rows = Action.objects.pending().order_by().values_list(*columns).annotate(Count("pk"))
    return tuple(Pending(agent, group or "", tool, count) for agent, group, tool, count in rows)


def _usage(agents: Iterable[Agent], now: datetime) -> dict[tuple[int, str], int]:
    minute, day = limits.starts(now)
    rows = Usage.objects.filter(agent__in=agents, starts_at__in=[minute, day])
    return {
        (row.agent_id, row.window): row.count
        for row in rows
        if row.starts_at == (day if row.window == "day" else minute)
    }


def _current(tally: Tally, minute: datetime, day: datetime) -> bool:
    return tally.starts_at == (day if tally.window == "day" else minute)


def _hits(rows: QuerySet[Hit]) -> dict[tuple[int, str], list[Hit]]:
    """By limit, or by agent for an agent's own, and ceiling."""
    found: defaultdict[tuple[int, str], list[Hit]] = defaultdict(list)
    for hit in rows.select_related("agent"):
        found[(hit.limit_id or hit.agent_id, hit.ceiling)].append(hit)
    return found


def _ends(now: datetime) -> tuple[datetime, datetime]:
    minute, day = limits.starts(now)
    return minute + timedelta(minutes=1), day + timedelta(days=1)
