"""Who last ran into which limit: one row an agent and ceiling, written when a call was refused."""

from __future__ import annotations

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from policies.limit_models import Hit, Limit
from policies.models import Agent
from traces.problems import Refused


def note(*, agent: Agent, tool: str, refused: Refused) -> None:
    """Remember that this agent's call met a limit, after what it had done was rolled back.

    Locks the agent's row. Any other refusal changes nothing.
    """
    ceiling = str(refused.extra.get("ceiling", ""))
    if refused.code != "limit" or not ceiling:
        return
    with transaction.atomic():
        Agent.objects.select_for_update(no_key=True).get(pk=agent.pk)
        name = refused.extra.get("limit")
        limit = Limit.objects.filter(name=name).first() if name else None
        if name and limit is None:
            return  # it was removed meanwhile
        row, _ = Hit.objects.get_or_create(agent=agent, limit=limit, ceiling=ceiling)
        Hit.objects.filter(pk=row.pk).update(times=F("times") + 1, tool=tool[:100], at=timezone.now())
