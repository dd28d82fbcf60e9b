"""What an agent has shown since it was last given or denied room: the evidence of a promotion."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Count, Max, Min, Q, Sum
from django.db.models.functions import TruncDate

from approvals.alike import APPROVED, NOBODY_ASKED
from approvals.models import Action
from policies.models import Agent, Usage
from traces.models import Session

S = Action.State
# Actions whose verdicts are read to tell what stopped them.
LOOKED_AT = 2_000


@dataclass(frozen=True)
class Evidence:
    """What an agent did since a moment, and what came of it."""

    since: str
    days_active: int
    proposed: int
    allowed: int
    asked: int
    approved: int
    rejected: int
    expired: int
    blocked: int
    held_by_mode: int
    succeeded: int
    failed: int
    findings: int
    sessions: int
    injected: int
    limits_hit: int
    would_allow: int
    would_ask: int
    last: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Evidence:
        """Evidence as it was stored, perhaps by an earlier version: what it did not count is 0."""
        known = {field.name: stored.get(field.name, 0) for field in fields(cls)}
        return cls(**known)

    @property
    def blocked_by_rules(self) -> int:
        """Blocked for another reason than that it may only read."""
        return self.blocked - self.held_by_mode

    @property
    def failed_percent(self) -> int:
        ended = self.succeeded + self.failed
        return self.failed * 100 // ended if ended else 0

    def lacks(self) -> list[str]:
        """What is missing for more room, each as a clause; empty where nothing is."""
        wanted = settings.AGENTSEC_TRUST
        missing = [
            (self.days_active < wanted["days"], f"active on {self.days_active} of {wanted['days']} days"),
            (self.proposed < wanted["actions"], f"{self.proposed} of {wanted['actions']} actions"),
            (self.rejected > 0, f"{self.rejected} calls rejected"),
            (self.blocked_by_rules > 0, f"{self.blocked_by_rules} calls blocked by rules"),
            (self.findings > 0, f"the firewall found something in {self.findings} calls"),
            (self.injected > 0, f"{self.injected} sessions had read an injection"),
            (
                self.failed_percent > wanted["failed_percent"],
                f"{self.failed_percent} % of what ran has failed",
            ),
        ]
        return [why for lacking, why in missing if lacking]

    def troubles(self) -> list[str]:
        """What speaks for less room, each as a clause; empty where nothing does."""
        rejected = self.rejected >= settings.AGENTSEC_TRUST["rejected"]
        found = [
            (rejected, f"people rejected {self.rejected} of {self.asked} calls that they were asked about"),
            (self.injected > 0, f"{self.injected} of its sessions had read an injection"),
        ]
        return [why for holds, why in found if holds]


def evidence(agent: Agent, *, since: datetime) -> Evidence:
    """Count what the agent did since then. Read through the index of agent, tool and time."""
    rows = Action.objects.filter(agent=agent, created_at__gte=since)
    counted = rows.aggregate(
        proposed=Count("pk"), days_active=Count(TruncDate("created_at"), distinct=True),
        allowed=Count("pk", filter=Q(approvals_json=NOBODY_ASKED) & ~Q(state=S.BLOCKED)),
        asked=Count("pk", filter=~Q(approvals_json=NOBODY_ASKED)),
        approved=Count("pk", filter=~Q(approvals_json=NOBODY_ASKED) & Q(state__in=APPROVED)),
        rejected=Count("pk", filter=Q(state=S.REJECTED)), expired=Count("pk", filter=Q(state=S.EXPIRED)),
        blocked=Count("pk", filter=Q(state=S.BLOCKED)), succeeded=Count("pk", filter=Q(state=S.SUCCEEDED)),
        failed=Count("pk", filter=Q(state__in=[S.FAILED, S.INTERRUPTED])),
        findings=Count("pk", filter=~Q(findings_json="[]")), first=Min("created_at"), last=Max("created_at"),
    )  # fmt: skip
    first, last = counted.pop("first"), counted.pop("last")
    return Evidence(
        since=(first or since).isoformat(), last=(last or since).isoformat(), **counted,
        **_held(agent, since), **_sessions(agent, since), limits_hit=_limits_hit(agent, since),
    )  # fmt: skip


def _held(agent: Agent, since: datetime) -> dict[str, int]:
    """What reading only has stopped, and what the rules would have said of it."""
    rows = Action.objects.filter(agent=agent, created_at__gte=since, state=S.BLOCKED)
    found = {"held_by_mode": 0, "would_allow": 0, "would_ask": 0}
    for text in rows.order_by("-created_at").values_list("verdict_json", flat=True)[:LOOKED_AT]:
        matched = json.loads(text)["matched"]
        blocks = {match["rule_id"] for match in matched if match["effect"] == "block"}
        if blocks == {"built-in:agent-mode"}:
            effects = {match["effect"] for match in matched} - {"block"}
            found["held_by_mode"] += 1
            found["would_ask"] += "ask" in effects
            found["would_allow"] += effects == {"allow"}
    return found


def _sessions(agent: Agent, since: datetime) -> dict[str, int]:
    rows = Session.objects.filter(agent_id=str(agent.pk), last_at__gte=since)
    return {"sessions": rows.count(), "injected": rows.filter(labels__contains=["injection"]).count()}


def _limits_hit(agent: Agent, since: datetime) -> int:
    rows = Usage.objects.filter(agent=agent, window="day", starts_at__gte=since)
    return rows.aggregate(all=Sum("refused"))["all"] or 0
