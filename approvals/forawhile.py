"""Allowing for a while: from an approval to an allowance, and from an allowance to what needs no asking.

An approval may say: the same again, in this session, for some minutes. Only somebody whose vote alone
answered everything may say so. What is the same, and when it stops to hold, is `policies.allowances`'.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings

from approvals import judging, states
from approvals.judging import Judged
from approvals.models import Action, Vote
from policies import allowances, releases
from policies.access import Verb, actor, may, require
from policies.allowance_models import AllowanceQuerySet
from policies.allowances import Call
from policies.engine import Verdict
from policies.models import Agent, Allowance, User
from policies.releases import Active
from policies.verdict import spared
from traces import dbtime
from traces.models import Session
from traces.problems import Refused


@dataclass(frozen=True)
class Offer:
    """What a reviewer may allow beyond the one call: equal in `same`, without `absent`, free in `free`, each
    of which says up to which number.
    """

    same: tuple[str, ...]
    absent: tuple[str, ...]
    free: tuple[tuple[str, str], ...]
    minutes: tuple[int, ...]


@dataclass(frozen=True)
class Shown:
    """An allowance as a person sees it."""

    row: Allowance
    may_end: bool

    @property
    def standing(self) -> bool:
        return self.row.ended_at is None


def offer(action: Action) -> Offer | None:
    """What may be ticked beside the approval of this action; None where nobody may allow it for a while."""
    try:
        active = releases.current()
    except Refused:  # an altered release; people still have to read and reject
        return None
    if not allowances.offered() or _why_not(action, active):
        return None
    call = call_of(action, active)
    same, most = tuple(call.bound), {name: f"{number:,f}" for name, number in call.most.items()}
    heads = {name if name in action.args else name.partition(".")[0] for name in same}
    free = tuple((name, most.get(name, "")) for name in action.args if name not in heads)
    named = active.tool(action.tool).authority_in(action.args)
    absent = tuple(name for name in named if name not in same) if free else ()
    return Offer(same, absent, free, allowances.offered())


def refuse(action: Action, *, minutes: int) -> None:
    """Raise Refused("invalid") where this action may not be allowed for a while, or not for so long."""
    allowances.refuse_minutes(minutes)
    if why := _why_not(action, releases.current()):
        raise Refused("invalid", f"this cannot be allowed for a while: {why}")


def grant(action: Action, *, vote: Vote, minutes: int) -> Allowance:
    """Make the allowance that goes with an approval, in its transaction. Locks the session.

    Appends `allowance.minted`. Nothing starts by it while the approval can still be taken back. Raises
    Refused("conflict") where policy was published since the approval began: the rules may say more now.
    """
    active = releases.current()
    if why := _why_not(action, active):
        raise Refused("conflict", f"this cannot be allowed for a while: {why}")
    if vote.group not in vote.user.group_names:
        raise Refused("invalid", f"only who is in {vote.group} may allow it for a while: approve it alone")
    waits = settings.AGENTSEC_UNDO_SECONDS if vote.undoable else 0
    return allowances.mint(
        call=call_of(action, active), user=vote.user, group=vote.group, action_id=action.pk,
        vote=vote.entry, minutes=minutes, starts_at=vote.at + timedelta(seconds=waits),
    )  # fmt: skip


def withdraw(vote: Vote, *, by: str) -> None:
    """The approval is taken back, and with it what it allowed. Call it before the session is locked."""
    for key in Allowance.objects.filter(vote=vote.entry, ended_at=None).values_list("pk", flat=True):
        allowances.end(allowance_id=key, why="the approval was taken back", by=by)


def revoke(*, allowance_id: UUID, user: User) -> Allowance:
    """End an allowance, whoever made it. Appends `allowance.revoked`; ending an ended one changes nothing.

    Raises Refused: not_found (also for who may not know of it), forbidden.
    """
    row = visible(user).filter(pk=allowance_id).first()
    if row is None:
        raise Refused("not_found", "There is no such allowance.")
    require(user, Verb.ALLOWANCE_END, groups=[row.group])
    if allowances.end(allowance_id=row.pk, why=f"revoked by {user.username}", by=actor(user)):
        _announce(row.action_id)
    return row


def end_due(now: datetime) -> int:
    """Those that ended by themselves say so."""
    return allowances.end_due(now)


def spare(
    judged: Judged,
    *,
    session: Session,
    agent: Agent,
    args: Mapping[str, Any],
    now: datetime,
    active: Active,
    not_before: datetime | None,
) -> Judged:
    """The judgement with everything that is asked answered, where one allowance answers all of it."""
    asks = _asks(judged.verdict.effect, judged.verdict.to_json()["matched"])
    if not asks:
        return judged
    call = _call(
        session, agent, args, judged.tool, active, asks=asks, origins=judged.origins,
        labels=judged.facts.session.labels, findings=judged.findings,
    )  # fmt: skip
    row = allowances.answering(call, now=now)
    if row is None or (not_before is not None and not_before >= row.until):
        return judged
    return replace(judged, verdict=_spared(judged.verdict, row), allowance=row)


def earliest(row: Allowance, not_before: datetime | None) -> datetime | None:
    """When something may start by this allowance: not while the approval that made it can be taken back."""
    if row.starts_at <= dbtime.now():
        return not_before
    return max(row.starts_at, not_before or row.starts_at)


def hindrance(action: Action, active: Active) -> str:
    """Why the allowance that let this action through does not start it; empty where it does.

    Locks the allowance until the transaction ends, so that nobody ends it meanwhile.
    """
    row = allowances.locked(action.allowance_id) if action.allowance_id else None
    if row is None:
        return "it is gone"
    action.allowance = row
    unlike = allowances.unlike(row, call_of(action, active, asks=frozenset(row.rules)))
    return allowances.lapsed(row, now=dbtime.now(), session=action.session) or unlike


def call_of(action: Action, active: Active, *, asks: frozenset[str] | None = None) -> Call:
    """An action as it was judged. `asks` where its verdict no longer says what asked."""
    verdict, facts = action.verdict, json.loads(action.facts_json)
    labels = set(facts["session"]["labels"]) & set(action.session.labels)
    return _call(
        action.session, action.agent, action.args, active.tool(action.tool), active,
        asks=asks if asks is not None else _asks(verdict["effect"], verdict["matched"]),
        origins=action.origins, labels=labels, findings=action.findings,
    )  # fmt: skip


def visible(user: User) -> AllowanceQuerySet:
    """The allowances that this person may know of: whoever reads policies all, an approver their groups'."""
    rows = Allowance.objects.select_related("user", "agent", "session")
    if may(user, Verb.POLICY_READ).allowed:
        return rows
    groups = [name for name in user.group_names if may(user, Verb.ACTION_READ, groups=[name]).allowed]
    return rows.filter(group__in=groups)


def standing(user: User) -> tuple[Shown, ...]:
    """What is allowed for a while now, as far as this person may know; the next to end first."""
    now = dbtime.now()
    rows = visible(user).standing(now, release_id=allowances.newest_release()).order_by("until")
    return _shown(rows, user)


def of_session(session: Session, user: User) -> tuple[Shown, ...]:
    """Every allowance of a session that this person may read, the newest first."""
    return _shown(Allowance.objects.filter(session=session).select_related("user", "agent", "session"), user)


def _shown(rows: Iterable[Allowance], user: User) -> tuple[Shown, ...]:
    return tuple(Shown(row, may(user, Verb.ALLOWANCE_END, groups=[row.group]).allowed) for row in rows)


def _why_not(action: Action, active: Active) -> str:
    """Why no single person may allow this for a while; empty where one may."""
    asked, tool = action.approvals, active.tool(action.tool)
    if action.effect == "destructive" or tool.effect == "destructive":
        return "it is destructive"
    if len(asked) != 1 or int(asked[0]["quorum"]) != 1:
        return "more than one person has to approve it"
    if asked[0]["step_up"]:
        return "its rule wants step-up each time"
    if action.revision != 1 or action.needs_other_than:
        return "its arguments were edited"
    if action.release != active.digest or action.manifest != tool.manifest:
        return "policy was published anew since it was judged"
    verdict = action.verdict
    if not _asks(verdict["effect"], verdict["matched"]):
        return "a rule asks only because its condition failed"
    return _suspect(json.loads(action.facts_json))


def _suspect(facts: Mapping[str, Any]) -> str:
    """Why each such call is worth a look: one mistaken yes must not be a yes to the next ten."""
    if "injection" in facts["session"]["labels"]:
        return "its session has read text that gives orders to agents"
    if "untrusted" in facts["authority"].values():
        return "whom or what it affects stands only in what outsiders may have written"
    return ""


def _asks(effect: str, matched: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """The rules that ask, where asking is what came of it; none if one asks because its condition failed."""
    asking = [match for match in matched if match["effect"] == "ask"]
    if effect != "ask" or any(match.get("error") for match in asking):
        return frozenset()
    return frozenset(match["name"] for match in asking)


def _call(
    session: Session,
    agent: Agent,
    args: Mapping[str, Any],
    tool: Any,
    active: Active,
    *,
    asks: frozenset[str],
    origins: Mapping[str, Any],
    labels: Iterable[str],
    findings: Sequence[Mapping[str, Any]],
) -> Call:
    return Call(
        session=session, agent=agent, tool=tool, args=args, target=judging.target(tool, args),
        labels=frozenset(labels), asks=asks, release=active.digest, release_id=active.release_id,
        origins={path: str(found["origin"]) for path, found in origins.items()},
        findings=tuple(
            (str(item["detector"]), str(item["severity"]), str(item["why"]), str(item.get("path", "")))
            for item in findings
        ),
    )  # fmt: skip


def _spared(verdict: Verdict, row: Allowance) -> Verdict:
    until = f"{row.until:%H:%M:%S} UTC"
    why = (
        f"for a while: {row.user.username} allowed the same call in this session until {until}, "
        f"which answers {', '.join(sorted(row.rules))}"
    )
    return spared(verdict, allowance=str(row.pk), why=why)


def _announce(action_id: UUID) -> None:
    action = Action.objects.filter(pk=action_id).first()
    if action is not None:
        states.announce(action)
