"""Labels: what a session has met, and what its agent remembers of it for a day."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from policies.models import Agent, Gathered
from traces import record
from traces.models import Entry, Session

AGENTSEC = "agentsec"
MEMORY = timedelta(hours=24)
# Labels are remembered by the minute, so that a busy agent does not write the same row at every event.
GRAIN = timedelta(minutes=1)


def gather(*, session: Session, labels: Iterable[str], why: str, actor: str) -> list[str]:
    """Add labels to a session and to what its agent remembers for 24 hours; returns all of the session's.

    The one way to label: sessions that nobody attests inherit from that memory. Locks the session. Appends
    `session.labelled` if one is new.
    """
    wanted = sorted(set(labels))
    with transaction.atomic():
        carried = record.add_labels(session=session, labels=wanted, why=why, actor=actor)
        now = timezone.now()
        known = Gathered.objects.filter(agent_id=int(session.agent_id), label__in=wanted)
        fresh = set(known.filter(at__gt=now - GRAIN).values_list("label", flat=True))
        for label in wanted:
            if label not in fresh:
                Gathered.objects.update_or_create(
                    agent_id=int(session.agent_id), label=label, defaults={"at": now}
                )
    return carried


def catch_up(*, agent: Agent, session: Session) -> None:
    """Give a session that nobody attests what its agent has gathered elsewhere since it was opened: one that
    was opened in reserve is no way to shed labels. What a person cleared comes back only when gathered anew.

    Locks the session. Appends `session.labelled` if a label is new.
    """
    if session.attested:
        return
    cleared = Entry.objects.of_session(session.pk).filter(kind="session.cleared").last()
    since = max(cleared.at if cleared else session.started_at, timezone.now() - MEMORY - GRAIN)
    met = set(Gathered.objects.filter(agent=agent, at__gt=since).values_list("label", flat=True))
    if met - set(session.labels):
        record.add_labels(session=session, labels=met, why="gathered in another session", actor=AGENTSEC)


def clear_label(*, session: Session, label: str, why: str, actor: str) -> list[str]:
    """Take a label off a session: a person's decision. The agent forgets it too, unless another session of
    the last 24 hours carries it. Appends `session.cleared`. Raises Refused: invalid (no reason), conflict.
    """
    with transaction.atomic():
        left = record.clear_label(session=session, label=label, why=why, actor=actor)
        others = Session.objects.of_agent(session.agent_id).exclude(pk=session.pk)
        recent = others.filter(last_at__gt=timezone.now() - MEMORY, labels__contains=[label])
        if not recent.exists():
            Gathered.objects.filter(agent_id=int(session.agent_id), label=label).delete()
    return left


def remembered(agent: Agent, *, now: datetime) -> set[str]:
    """The labels that this agent gathered in the last 24 hours, in whichever session."""
    since = now - MEMORY - GRAIN
    return set(Gathered.objects.filter(agent=agent, at__gt=since).values_list("label", flat=True))
