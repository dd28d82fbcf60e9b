"""What happened in a session before the call that is judged, and what the session was opened for.

Kept as it happens, by name and in one row a session: a thousandth call is judged as fast as the first.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from policies import purpose
from policies.facts import SessionFacts
from policies.labels import GRAIN, MEMORY
from policies.models import Recall, Trail
from policies.tooling import ToolDef
from traces import clean
from traces.models import Session
from traces.problems import Refused

MAX_NAMES = 1000


def begin(*, session: Session, above: Session | None) -> None:
    """Give a session that nobody attests what its agent has read in the last 24 hours, and what the session
    above it has: opening another is no way to forget. Needs the transaction that opened it.
    """
    if session.attested:
        return
    known = _recalled(session, since=timezone.now() - MEMORY - GRAIN)
    known |= set(_trail(above).read) if above is not None else set()
    if known:
        Trail.objects.create(session=session, read=sorted(known))


def note_proposed(*, session: Session) -> None:
    """An action was proposed in the session. Needs the transaction that stores it, with the session locked by
    its log entries: that lock comes before the trail's, here as at a start.
    """
    mine = Trail.objects.filter(session=session)
    if not mine.update(calls=F("calls") + 1):
        Trail.objects.create(session=session, calls=1)


def note_told(*, session: Session, tool: ToolDef) -> None:
    """Somebody told the session what a tool returned. Locks the session's trail.

    Raises Refused("limit") where the session has been told of more tools than rules can be asked about.
    """
    with transaction.atomic():
        row = _locked(session)
        name = clean.storable(tool.name)
        if name not in row.read:
            if len(row.read) >= MAX_NAMES:
                raise Refused(
                    "limit", "This session has been told of too many tools: open another.", retry_after=60
                )
            row.read = sorted({*row.read, name})
            row.save(update_fields=["read"])
        # Whoever may say anything could fill the memory with names that no tool has.
        if tool.declared:
            _remember(session, tool.name)


def note_started(*, session: Session, tool: ToolDef) -> None:
    """A tool was started in the session: whatever it returns may be read from now on.

    Needs the transaction of the start. Locks the session's trail.
    """
    row = _locked(session)
    row.read = sorted({*row.read, tool.name})
    row.did = sorted({*row.did, tool.name} if tool.effect != "read" else row.did)
    row.last = tool.name
    row.save(update_fields=["read", "did", "last"])
    _remember(session, tool.name)


def session_facts(session: Session, *, tool: ToolDef, now: datetime) -> SessionFacts:
    """What rules may ask of the session when this tool is called in it. Two look-ups by key at most, however
    long the session is.
    """
    row = _trail(session)
    read = set(row.read)
    if not session.attested:
        read |= _recalled(session, since=max(session.started_at, now - MEMORY) - GRAIN)
    return SessionFacts(
        labels=tuple(session.labels), age=max(0, int((now - session.started_at).total_seconds())),
        calls=row.calls, user=session.user, attested=session.attested,
        read=tuple(sorted(read)), did=tuple(row.did), last=row.last,
        **purpose.facts(
            purpose=session.purpose, tools=session.tools, attested=session.attested,
            tool=tool.name, declared=tool.declared,
        ),
    )  # fmt: skip


def _trail(session: Session) -> Trail:
    return Trail.objects.filter(session=session).first() or Trail(session=session)


def _locked(session: Session) -> Trail:
    row, _ = Trail.objects.select_for_update(no_key=True).get_or_create(session=session)
    return row


def _recalled(session: Session, *, since: datetime) -> set[str]:
    met: Iterable[str] = Recall.objects.filter(agent_id=int(session.agent_id), at__gt=since).values_list(
        "tool", flat=True
    )
    return set(met)


def _remember(session: Session, tool: str) -> None:
    """By the minute, as labels are."""
    now, agent = timezone.now(), int(session.agent_id)
    if not Recall.objects.filter(agent_id=agent, tool=tool, at__gt=now - GRAIN).exists():
        Recall.objects.update_or_create(agent_id=agent, tool=tool, defaults={"at": now})
