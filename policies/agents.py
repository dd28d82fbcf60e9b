"""Agents and their keys. Every change appends to the log, never with a key in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F, Q

from policies import foureyes, tokens
from policies.models import NAME, Agent, AgentKey, User
from traces import dbtime, record
from traces.problems import Refused

SCOPES = ("act", "attest")
OVERLAP = timedelta(hours=1)


def create_agent(
    *, name: str, by: str, description: str = "", team: Group | None = None, owner: User | None = None
) -> Agent:
    """A new agent, which begins as read_only. Appends `agent.created`.

    Raises Refused: invalid for a bad name, conflict where it is taken.
    """
    try:
        NAME(name)
    except ValidationError:
        raise Refused("invalid", f"{name!r} is no agent's name: letters, digits and . _ @ - only.") from None
    try:
        with transaction.atomic():
            agent = Agent.objects.create(name=name, description=description, team=team, owner=owner)
            body = {"name": name, "mode": agent.mode, "team": team and team.name, "owner": owner and owner.pk}
            _log("agent.created", by, agent, body, "created")
    except IntegrityError:
        raise Refused("conflict", f"There is already an agent called {name}.") from None
    return agent


def set_mode(*, agent: Agent, mode: str, by: str) -> None:
    """Pause an agent, let it read, or let it work. Holds from its next action and start on.

    Locks the agent's row. Appends `agent.mode` if it changed. Raises Refused("invalid") for no such mode.
    """
    if mode not in Agent.Mode.values:
        raise Refused("invalid", f"{mode!r} is not a mode: {', '.join(Agent.Mode.values)}.")
    with transaction.atomic():
        before = Agent.objects.select_for_update(no_key=True).values_list("mode", flat=True).get(pk=agent.pk)
        if loosens(before, mode):
            foureyes.gate(mode_wish(agent.name, before, mode), by=by)
        agent.mode = mode
        if before != mode:
            Agent.objects.filter(pk=agent.pk).update(mode=mode)
            body = {"before": before, "after": mode}
            _log("agent.mode", by, agent, body, f"is now {agent.get_mode_display().lower()}")


def loosens(before: str, after: str) -> bool:
    """Whether this change of mode lets an agent do more."""
    order = (Agent.Mode.PAUSED, Agent.Mode.READ_ONLY, Agent.Mode.STANDARD)
    return order.index(Agent.Mode(after)) > order.index(Agent.Mode(before))


def mode_wish(name: str, before: str, after: str) -> foureyes.Wish:
    """A change of mode as one that waits for a second person."""
    return foureyes.Wish("agent.mode", name, f"set the agent {name} to {after}", before, after)


def withhold_mode(*, agent: Agent, created: bool, by: str) -> foureyes.Wish | None:
    """With four-eyes, put a looser mode back before the agent is saved; the wish for it, if there is one."""
    rows = Agent.objects.filter(pk=agent.pk).values_list("mode", flat=True)
    before = Agent.Mode.READ_ONLY if created else rows.get()
    if not foureyes.asks(by) or not loosens(before, agent.mode):
        return None
    wanted, agent.mode = agent.mode, before
    return mode_wish(agent.name, before, wanted)


def living_keys(agent: Agent) -> list[str]:
    """The prefixes of an agent's keys that still work."""
    usable = AgentKey.objects.usable(dbtime.now()).filter(agent=agent)
    return sorted(usable.values_list("prefix", flat=True))


def changed(*, agent: Agent, fields: Sequence[str], by: str, created: bool = False) -> None:
    """Write down that an agent was made or that these fields of it were changed; needs a transaction.

    Appends `agent.created` or `agent.changed`.
    """
    if created:
        _log("agent.created", by, agent, {"name": agent.name, "mode": agent.mode}, "created")
    elif fields:
        body = {"fields": list(fields), "mode": agent.mode}
        _log("agent.changed", by, agent, body, f"{', '.join(fields)} changed")


def issue_key(
    agent: Agent, scopes: Iterable[str] = ("act",), *, by: str, expires_at: datetime | None = None
) -> str:
    """A new key (`ask_…`), shown once and stored as its hash.

    `act` proposes actions; `attest` belongs to the host application and never into the model's process, since
    whoever holds it says what the user said. Appends `key.issued`. Raises Refused("invalid") for a bad scope.
    """
    wanted = sorted(set(scopes))
    if not wanted or not set(wanted) <= set(SCOPES):
        raise Refused("invalid", f"A key's scopes are {' and '.join(SCOPES)}, at least one.")
    ends = expires_at and expires_at.isoformat()
    title = f"issue {agent.name} a key ({', '.join(wanted)})"
    after = {"scopes": wanted, "expires_at": ends}
    foureyes.gate(foureyes.Wish("agent.key", agent.name, title, living_keys(agent), after), by=by)
    minted = tokens.mint("ask")
    with transaction.atomic():
        key = AgentKey.objects.create(
            agent=agent, prefix=minted.prefix, sha256=minted.sha256, scopes=wanted, expires_at=expires_at
        )
        body = {"prefix": key.prefix, "scopes": wanted, "expires_at": ends}
        _log("key.issued", by, agent, body, f"got a key ({', '.join(wanted)})")
    return minted.raw


def rotate(
    *,
    agent: Agent,
    by: str,
    prefix: str = "",
    overlap: timedelta = OVERLAP,
    expires_at: datetime | None = None,
) -> str:
    """A new key with the scopes of an old one, which ends after `overlap`.

    The new key ends when the old one would have (the first of several), or at `expires_at`: rotating makes
    no key live for ever.

    Without `prefix`, all keys of the agent end so; they must then be of the same scopes, since a union would
    put `attest` into hands that only had `act`. Appends `key.issued` and `key.rotated`. Raises Refused:
    not_found (no such key), invalid.
    """
    with transaction.atomic():
        keys = _usable(agent, prefix)
        scopes = {tuple(sorted(key.scopes)) for key in keys}
        if len(scopes) > 1:
            raise Refused("invalid", f"{agent.name}'s keys differ in scopes: name one ({_prefixes(keys)}).")
        ends_too = expires_at or min((key.expires_at for key in keys if key.expires_at), default=None)
        raw = issue_key(agent, scopes.pop(), by=by, expires_at=ends_too)
        ends = dbtime.now() + max(overlap, timedelta(0))
        old = AgentKey.objects.filter(pk__in=[key.pk for key in keys])
        old.filter(Q(expires_at=None) | Q(expires_at__gt=ends)).update(expires_at=ends)
        body = {"old": [key.prefix for key in keys], "new": raw[: tokens.PREFIX], "old_end": ends.isoformat()}
        _log("key.rotated", by, agent, body, "rotated its key")
    return raw


def revoke(*, agent: Agent, by: str, prefix: str = "") -> int:
    """End the agent's keys at once, or the one of this prefix; how many ended. Appends `key.revoked`.

    Raises Refused("not_found") where there is none.
    """
    with transaction.atomic():
        keys = _usable(agent, prefix)
        AgentKey.objects.filter(pk__in=[key.pk for key in keys]).update(revoked_at=dbtime.now())
        _log("key.revoked", by, agent, {"prefixes": [key.prefix for key in keys]}, "lost a key")
    return len(keys)


def authenticate_key(raw: str) -> AgentKey | None:
    """The living key that this is, with its agent and team; counts the use.

    Whether the agent may act is not asked here: a paused one is told so by `limits`.
    """
    if not tokens.well_formed(raw, "ask"):
        return None
    now = dbtime.now()
    rows = AgentKey.objects.usable(now).select_related("agent__team").filter(prefix=raw[: tokens.PREFIX])
    key: AgentKey | None = tokens.pick(raw, rows)
    if key is None:
        return None
    AgentKey.objects.filter(pk=key.pk).update(uses=F("uses") + 1, last_used_at=now)
    return key


def _usable(agent: Agent, prefix: str) -> list[AgentKey]:
    usable = AgentKey.objects.usable(dbtime.now()).select_for_update(no_key=True)
    keys = list(usable.filter(agent=agent, prefix__startswith=prefix).order_by("pk"))
    if not keys:
        which = f"key that begins with {prefix}" if prefix else "living key"
        raise Refused("not_found", f"{agent.name} has no {which}.")
    if prefix and len(keys) > 1:
        raise Refused("invalid", f"More than one key begins so: {_prefixes(keys)}.")
    return keys


def _prefixes(keys: Iterable[AgentKey]) -> str:
    return ", ".join(f"{key.prefix}… ({', '.join(key.scopes)})" for key in keys)


def _log(kind: str, by: str, agent: Agent, body: Mapping[str, Any], what: str) -> None:
    record.append(kind=kind, actor=by, body={"agent": agent.pk, **body}, title=f"{agent.name} {what}")
