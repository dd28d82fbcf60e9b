"""Which links of a call were copied, and not the session's own words read back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from approvals.models import Action
from policies import copying
from policies.models import Agent
from policies.models import Source as Heard
from policies.provenance import Origin, Source
from policies.tooling import ToolDef
from traces.models import Session

# As long as an agent remembers what it has met (policies.labels).
MEMORY = timedelta(hours=24)
# As it stands in the stored facts of a call that copied something; within a text the marks are escaped.
_COPIED = '"copied": ["'


def copied(
    *,
    agent: Agent,
    session: Session,
    tool: ToolDef,
    args: Mapping[str, Any],
    origins: Mapping[str, Origin],
    sources: Sequence[Source],
    now: datetime,
) -> tuple[str, ...]:
    """The arguments that are links copied from a message (see `policies.copying`); () for any other tool than
    one that reads outside.

    What was read after this session had first acted may be its own words, and so may a link to a host that
    this agent wrote of in the last 24 hours. After `MAX_READS` copied links there are no more. The agent must
    be locked, or calls at the same time would not see each other.
    """
    if tool.effect != "read" or tool.sends != "external" or not copying.wanted(args, origins):
        return ()
    links = copying.copied(args, origins, copying.offered(_before_acting(session, sources)))
    mine = Action.objects.filter(session=session).exclude(state=Action.State.BLOCKED)
    if not links or mine.filter(facts_json__contains=_COPIED).count() >= copying.MAX_READS:
        return ()
    return () if _wrote(agent, links.values(), now) else tuple(sorted(links))


def _before_acting(session: Session, sources: Sequence[Source]) -> list[Source]:
    acted = Action.objects.filter(session=session).exclude(effect="read").exclude(state=Action.State.BLOCKED)
    first = acted.order_by("created_at").values_list("created_at", flat=True).first()
    if first is None:
        return list(sources)
    early = Heard.objects.filter(session=session, at__lt=first).values_list("entry", flat=True)
    known = {str(entry) for entry in early}
    return [source for source in sources if source.entry_id in known]


def _wrote(agent: Agent, links: Any, now: datetime) -> bool:
    """Whether the agent has lately acted with one of these hosts in its arguments."""
    acted = Action.objects.filter(agent=agent, created_at__gt=now - MEMORY).exclude(effect="read")
    hosts = {json.dumps(copying.host(link), ensure_ascii=False)[1:-1] for link in links}
    return any(acted.filter(args_json__icontains=host).exists() for host in hosts)
