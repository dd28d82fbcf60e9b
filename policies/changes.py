"""Proposed changes: kept, shown to a second person, and applied exactly so, or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from policies import absences, accounts, agents, factors, foureyes, limits, people, secrets, soundness
from policies.access import Verb, actor, may
from policies.arguments import canonical
from policies.foureyes import NeedsSecond, Wish
from policies.foureyes_models import ProposedChange
from policies.hands import Hands
from policies.models import Agent, User
from traces import dbtime, record
from traces.problems import Refused

S = ProposedChange.State
# What nobody confirmed by then is not meant any more.
LIFE = timedelta(days=7)


@dataclass(frozen=True)
class Kind:
    """What may be changed so: the verb that it takes, how it is now, and how to do it.

    `apply` gives what is shown once, on the page that confirms (a key, a link), or "".
    """

    verb: Verb
    before: Callable[[ProposedChange], Any]
    apply: Callable[[ProposedChange, str], str]
    proposes: Verb | None = None  # where proposing takes less than confirming


@dataclass(frozen=True)
class Confirmed:
    """A change that was applied; `once` is shown on this one answer and never again."""

    change: ProposedChange
    once: str = ""


def keep(needed: NeedsSecond, *, by: str) -> ProposedChange:
    """Keep a wish for somebody else to confirm; an equal one that waits already is that one.

    Appends `change.proposed`.
    """
    return propose(needed.wish, by=by)


def propose(wish: Wish, *, by: str) -> ProposedChange:
    """The same for a wish that nobody raised."""
    about: dict[str, Any] = {"kind": wish.kind, "target": wish.target, "by": by}
    with transaction.atomic():
        for row in ProposedChange.objects.filter(**about, state=S.WAITING):
            if not wish.sealed and (row.before, row.after) == (wish.before, wish.after):
                return row
        row = ProposedChange.objects.create(
            **about, title=wish.title[:500], before=wish.before, after=wish.after, sealed=wish.sealed
        )
        _log(row, "proposed", by, _told(row))
    return row


def withhold_mode(*, name: str, before: str, wanted: dict[str, Any], by: str) -> list[str]:
    """With four-eyes, take a looser mode out of what an agent is to become, and propose it; what to say."""
    mode = wanted.get("mode", before)
    if not foureyes.required() or not agents.loosens(before, mode):
        return []
    wanted["mode"] = before
    row = propose(agents.mode_wish(name, before, mode), by=by)
    return [f"agent {name}: mode {mode} waits for somebody else to confirm it (change {row.pk})"]


def confirm(*, change_id: int, user: User) -> Confirmed:
    """Apply a change that somebody else proposed, exactly as it was shown.

    Locks the change. Appends what the change appends, by `user`, and `change.confirmed`. Raises Refused:
    not_found, conflict (decided already, or what it changes is no longer as it was: then it is over),
    forbidden (no right to change that; or not surely somebody else: see `foureyes.same_hand`).
    """
    with transaction.atomic():
        row = _waiting(change_id)
        kind, by = KINDS[row.kind], actor(user)
        _refuse_stranger(kind, user)
        _refuse_same_hand(row, by)
        _refuse_unlogged(row)
        stale = _stale(row, kind)
        if not stale:
            with foureyes.confirming():
                once = kind.apply(row, by)
            _decide(row, S.CONFIRMED, by)
            return Confirmed(row, once)
        _decide(row, S.OUTDATED, by, stale)
    raise Refused("conflict", stale)


def refuse(*, change_id: int, user: User, why: str = "") -> ProposedChange:
    """Say no to a change, or take one's own back. Appends `change.refused` or `change.withdrawn`."""
    with transaction.atomic():
        row = _waiting(change_id)
        by = actor(user)
        if row.by != by:
            _refuse_stranger(KINDS[row.kind], user)
        _decide(row, S.WITHDRAWN if row.by == by else S.REFUSED, by, why)
    return row


def visible(user: User, rows: list[ProposedChange]) -> list[ProposedChange]:
    """Those that this person proposed, could decide, or may read about."""
    reads = may(user, Verb.ACCOUNTS_READ).allowed
    return [row for row in rows if reads or row.by == actor(user) or may(user, KINDS[row.kind].verb).allowed]


def why_not(row: ProposedChange, user: User, *, known: Hands | None = None) -> str:
    """Why this person cannot confirm it, "" where nothing is in the way; `known` where many are asked for."""
    try:
        _refuse_stranger(KINDS[row.kind], user)
        _refuse_same_hand(row, actor(user), known)
    except Refused as refused:
        return refused.detail
    return ""


def _waiting(change_id: int) -> ProposedChange:
    row = ProposedChange.objects.select_for_update().filter(pk=change_id).first()
    if row is None:
        raise Refused("not_found", "There is no such change.")
    if row.state != S.WAITING:
        raise Refused("conflict", f"It was {row.state} already.")
    return row


def _refuse_stranger(kind: Kind, user: User) -> None:
    answer = may(user, kind.verb)
    if not answer.allowed:
        raise Refused("forbidden", answer.why)


def _refuse_same_hand(row: ProposedChange, by: str, known: Hands | None = None) -> None:
    if row.by == by:
        raise Refused("forbidden", "You proposed this yourself: somebody else has to confirm it.")
    if foureyes.same_hand(row.by, by, at=row.at, known=known):
        why = "One of you made the link that set the other's password, so you do not count as two."
        raise Refused("forbidden", why)


def _refuse_unlogged(row: ProposedChange) -> None:
    """Who can write to the database must not put words into a proposer's mouth."""
    about = {"change": row.pk, "kind": row.kind, "target": row.target, **_told(row)}
    if not soundness.logged("change.proposed", about):
        raise Refused("unavailable", "This is not what was proposed: the log does not hold it.")


def _told(row: ProposedChange) -> dict[str, Any]:
    """What the log keeps of a proposal; of what is sealed its hash, over bytes that nobody could guess."""
    sealed = hashlib.sha256(bytes(row.sealed)).hexdigest() if row.sealed else ""
    told = {"before": row.before, "after": row.after, "by": row.by, "sealed": sealed}
    return {**told, "at": row.at.isoformat()}


def _stale(row: ProposedChange, kind: Kind) -> str:
    if row.at < dbtime.now() - LIFE:
        return f"It waited for more than {LIFE.days} days: propose it again."
    if not _may_propose(row, kind):
        return "Whoever proposed this may not change it any more: propose it again."
    if canonical({"is": kind.before(row)}) != canonical({"is": row.before}):
        return "What it changes is no longer as it was when this was proposed: propose it again."
    return ""


def _may_propose(row: ProposedChange, kind: Kind) -> bool:
    """Whether its proposer is still one who may: as a vote's voter is asked again at the start."""
    who, _, number = row.by.partition(":")
    if who != "user":
        return True
    proposer = User.objects.filter(pk=int(number)).first()
    return proposer is not None and may(proposer, kind.proposes or kind.verb).allowed


def _decide(row: ProposedChange, state: str, by: str, why: str = "") -> None:
    row.state, row.decided_by, row.decided_at, row.why = state, by, dbtime.now(), why[:500]
    # Nobody needs the value here any more.
    row.sealed = b""
    row.save(update_fields=["state", "decided_by", "decided_at", "why", "sealed"])
    _log(row, state, by, {"before": row.before, "after": row.after, "proposed_by": row.by, "why": why})


def _log(row: ProposedChange, what: str, by: str, told: Mapping[str, Any]) -> None:
    body = {"change": row.pk, "kind": row.kind, "target": row.target, **told}
    record.append(kind=f"change.{what}", actor=by, body=body, title=f"{row.title}: {what}")


def _person(target: str) -> User:
    user = User.objects.select_for_update(no_key=True).filter(pk=int(target)).first()
    if user is None:
        raise Refused("not_found", "There is no such person.")
    return user


def _agent(name: str) -> Agent:
    agent = Agent.objects.select_for_update(no_key=True).filter(name=name).first()
    if agent is None:
        raise Refused("not_found", f"There is no agent {name}.")
    return agent


def _after(row: ProposedChange) -> Any:
    return row.after


def _create_person(row: ProposedChange, by: str) -> str:
    return people.create_user(name=row.target, by=by, **_after(row)).link.url


def _change_person(row: ProposedChange, by: str) -> str:
    user, after = _person(row.target), dict(_after(row))
    groups = after.pop("groups", None)
    accounts.edit(user=user, values=after, by=by)
    if groups is not None:
        accounts.set_groups(user=user, groups=groups, by=by)
    return ""


def _reset_factors(row: ProposedChange, by: str) -> str:
    factors.reset(user=_person(row.target), by=by)
    return ""


def _set_mode(row: ProposedChange, by: str) -> str:
    agents.set_mode(agent=_agent(row.target), mode=_after(row), by=by)
    return ""


def _issue_key(row: ProposedChange, by: str) -> str:
    after = _after(row)
    ends = after["expires_at"]
    expires_at = datetime.fromisoformat(ends) if ends else None
    return agents.issue_key(_agent(row.target), after["scopes"], by=by, expires_at=expires_at)


def _store_secret(row: ProposedChange, by: str) -> str:
    after = _after(row)
    given = after if isinstance(after, dict) else {}
    overlap = timedelta(seconds=given["overlap_seconds"]) if given else None
    ends = datetime.fromisoformat(given["expires_at"]) if given.get("expires_at") else None
    value = secrets.opened(row.target, bytes(row.sealed))
    secrets.put(name=row.target, value=value, by=by, overlap=overlap, expires_at=ends)
    return ""


def _away(row: ProposedChange, by: str) -> str:
    absences.apply_wish(_person(row.target), _after(row), by=by)
    return ""


def _lift(row: ProposedChange, by: str) -> str:
    limits.lift(scope=row.target, by=by)
    return ""


def _person_now(row: ProposedChange) -> Any:
    before: Any = row.before
    return accounts.state(_person(row.target), before)


KINDS: Mapping[str, Kind] = {
    # That somebody of this name came meanwhile is told by creating.
    "person.create": Kind(Verb.PEOPLE_EDIT, lambda row: None, _create_person),
    "person": Kind(Verb.PEOPLE_EDIT, _person_now, _change_person),
    # Anybody says that they are away; who stands in gets what they may.
    "person.away": Kind(Verb.PEOPLE_EDIT, lambda row: None, _away, proposes=Verb.INBOX_SEE),
    "person.factors": Kind(Verb.PEOPLE_EDIT, lambda row: factors.state(_person(row.target)), _reset_factors),
    "agent.mode": Kind(Verb.AGENTS_EDIT, lambda row: _agent(row.target).mode, _set_mode),
    "agent.key": Kind(Verb.KEYS_EDIT, lambda row: agents.living_keys(_agent(row.target)), _issue_key),
    "secret": Kind(Verb.SECRETS_EDIT, lambda row: secrets.stored(row.target), _store_secret),
    "switch": Kind(Verb.KILL, lambda row: limits.thrown_as(row.target), _lift),
}
