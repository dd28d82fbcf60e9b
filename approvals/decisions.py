"""What people decide: approve, reject, edit, undo, run again; and what ends an action without them.

Each verb locks the action's row first, so of two racing deciders exactly one wins and the other is told who
did. A vote names the digest of what its voter saw; any other digest is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from approvals import (
    asking,
    claims,
    expiry,
    files,
    forawhile,
    jobs,
    judging,
    later,
    notify,
    pipeline,
    rejecting,
    reviewing,
    states,
    stepup,
    typed,
    word,
)
from approvals.attention import UNKNOWN, Attention
from approvals.models import Action, Revision, Vote
from approvals.voting import Tally, put_to, stands_in_for, tally, void_all, voidable
from policies import arguments, budgets, facts, releases
from policies.access import actor
from policies.models import Agent, Allowance, User
from traces import dbtime, record
from traces.problems import Refused

S = Action.State


@dataclass(frozen=True)
class Decision:
    """What came of a vote. `effect` is approved, counted (more votes are needed), rejected, undone or
    again.
    """

    action: Action
    effect: str
    message: str
    allowance: Allowance | None = None


@transaction.atomic
def approve(
    *,
    action_id: UUID | str,
    user: User,
    digest: str,
    comment: str = "",
    confirm: str = "",
    channel: str = "browser",
    for_minutes: int = 0,
    answer: str = "",
    attention: Attention = UNKNOWN,
) -> Decision:
    """Vote for an action; when every group's quorum is met it becomes ready.

    Locks the action, then its session. Appends `vote.approve` and, when it was the last vote needed,
    `action.ready`. Through the browser nothing starts for five seconds, so that the voter can undo.
    With `for_minutes` equal calls of the session are allowed for that long: appends `allowance.minted`.
    `answer` is what the voter's passkey gave for this decision (see `stepup`), where a rule wants step-up.
    `attention` goes into the vote's entry and decides nothing.
    Raises Refused: not_found, forbidden, conflict (decided, changed, voted before), invalid (confirmation,
    or a call that nobody may allow for a while).
    """
    action = _open_for(user, action_id, digest)
    typed.refuse(action, confirm)
    if for_minutes:
        forawhile.refuse(action, minutes=for_minutes)
    vote = _vote(
        action, user=user, verdict=Vote.Verdict.APPROVE, comment=comment, channel=channel, answer=answer,
        attention=attention,
    )  # fmt: skip
    decision = count(action, by=actor(user), name=user.username)
    if not for_minutes or decision.effect != "approved":
        return decision
    allowance = forawhile.grant(action, vote=vote, minutes=for_minutes)
    said = f"Approved, and the same for {for_minutes} min."
    return replace(decision, message=said, allowance=allowance)


@transaction.atomic
def reject(
    *,
    action_id: UUID | str,
    user: User,
    digest: str,
    comment: str,
    advice: str = "",
    channel: str = "browser",
    attention: Attention = UNKNOWN,
) -> Decision:
    """Vote against an action, which ends it; the comment goes to the agent, and so does the advice: what it
    should do instead. There is no undoing it, since the agent is told at once; it may propose the call again.

    Locks the action, then its session. Appends `vote.reject` and `action.rejected`. Raises Refused as
    approve, and: invalid (no comment).
    """
    action = _open_for(user, action_id, digest)
    comment = rejecting.comment(comment)
    _vote(
        action, user=user, verdict=Vote.Verdict.REJECT, comment=comment, channel=channel, attention=attention
    )
    states.move(
        action, to=S.REJECTED, actor=actor(user), decided_by=user.username, decision_reason=comment,
        advice=advice, body={"by": user.username, "reason": comment, "advice": advice},
    )  # fmt: skip
    return Decision(action, "rejected", "Rejected. The agent is told why.")


@transaction.atomic
def edit(
    *,
    action_id: UUID | str,
    user: User,
    digest: str,
    args: Mapping[str, Any],
    comment: str = "",
    confirm: str = "",
    channel: str = "browser",
    answer: str = "",
    attention: Attention = UNKNOWN,
) -> Decision:
    """Change the arguments and vote for the result: a new revision, judged again, earlier votes void.

    Where an argument that says who or what is affected changed, the editor's vote alone never suffices.
    Locks the action, then its session. Appends `action.edited`, `vote.approve` and perhaps `action.ready`.
    Raises Refused as approve, and: invalid (arguments, nothing changed), blocked (policy blocks the new
    call).
    """
    action = _open_for(user, action_id, digest)
    before, asked = action.args, set(action.groups)
    judged, changed = _revise(action, user=user, args=args)
    typed.refuse(action, confirm)
    Revision.objects.create(
        action=action, number=action.revision, args_json=action.args_json, digest=action.digest,
        by=user.username,
        why=comment,
    )  # fmt: skip
    void_all(action)
    action.save()
    if more := set(action.groups) - asked:
        notify.about(action, kind=notify.NoticeKind.ASKED, groups=more)
    body = {
        "by": user.username, "why": comment, "revision": action.revision, "before": before,
        "after": action.args,
        "changed": sorted(changed), "digest": action.digest, "verdict": judged.verdict.to_json(),
        "facts": judged.facts.to_json(), "rules": judged.rule_texts, "approvals": action.approvals,
        "needs_other_than": action.needs_other_than,
    }  # fmt: skip
    record.append(
        kind="action.edited", actor=actor(user), session=action.session, action=str(action.pk), body=body,
        title=f"{action.tool}: edited by a reviewer", text=f"{action.args_json} {comment}",
    )  # fmt: skip
    _vote(
        action, user=user, verdict=Vote.Verdict.APPROVE, comment=comment, channel=channel, answer=answer,
        attention=attention,
    )  # fmt: skip
    return count(action, by=actor(user), name=user.username)


@transaction.atomic
def shown(*, action_id: UUID | str, user: User, digest: str) -> Action:
    """The action, where this person may decide it now and has seen it as it is. Locks it. Raises Refused."""
    return _open_for(user, action_id, digest)


def foreseen(*, action_id: UUID | str, user: User, digest: str, args: Mapping[str, Any]) -> Action:
    """The action as this edit would make it, for its passkey to sign; nothing is changed.

    Locks what `edit` locks, for as long as judging takes. Raises Refused as edit.
    """
    with transaction.atomic():
        action = _open_for(user, action_id, digest)
        _revise(action, user=user, args=args)
        transaction.set_rollback(True)
    return action


@transaction.atomic
def undo(*, action_id: UUID | str, user: User) -> Decision:
    """Take one's own approval back within five seconds, before anything has started. Arguments that it came
    with stay: what was edited is on record as a revision, which waits for new votes.

    Locks the action. Appends `vote.undone` and, if the action had become ready, `action.pending`.
    Raises Refused("conflict") when it is too late.
    """
    action = states.lock(action_id)
    vote = voidable(action, user, within=timedelta(seconds=settings.AGENTSEC_UNDO_SECONDS))
    return take_back(action, vote, user=user)


def take_back(action: Action, vote: Vote, *, user: User) -> Decision:
    """Void this person's own vote. The caller holds the lock. Appends as undo."""
    forawhile.withdraw(vote, by=actor(user))
    vote.void = True
    vote.save(update_fields=["void"])
    body = {"by": user.username, "vote": str(vote.entry), "revision": action.revision}
    record.append(
        kind="vote.undone", actor=actor(user), session=action.session, action=str(action.pk), body=body,
        title=f"{action.tool}: approval taken back",
    )  # fmt: skip
    if action.state == S.READY:
        back_to_pending(action, by=actor(user), why="the approval was taken back")
    else:
        states.announce(action)
    return Decision(action, "undone", _undone(action, user))


@transaction.atomic
def run_again(*, action_id: UUID | str, user: User) -> Decision:
    """Put an interrupted action before people again: earlier votes are void, new ones are needed.

    Locks the action. Appends `action.pending`. Raises Refused: not_found, forbidden, conflict.
    """
    action = reviewing.theirs(user, action_id)
    if action.state != S.INTERRUPTED:
        raise Refused("conflict", states.already(action), state=action.state)
    back_to_pending(action, by=actor(user), why="to be run again after an interruption")
    return Decision(action, "again", "It waits for new votes.")


@transaction.atomic
def cancel(*, action_id: UUID | str, agent: Agent) -> Action:
    """The agent takes its own call back before it has started.

    Locks the action. Appends `action.cancelled`. Raises Refused: not_found (another agent's), conflict.
    """
    action = states.lock(action_id)
    if action.agent_id != agent.pk:
        raise Refused("not_found", "no such action")
    if action.state not in (S.PENDING, S.READY):
        raise Refused("conflict", states.already(action), state=action.state)
    states.move(action, to=S.CANCELLED, actor=f"agent:{agent.pk}", decided_by=agent.name,
                decision_reason="cancelled by the agent")  # fmt: skip
    return action


def expire(*, action: Action) -> None:
    """End an action whose time is over; the caller holds its lock. Appends `action.expired`."""
    why = expiry.reason(action)
    states.move(action, to=S.EXPIRED, actor=states.AGENTSEC, decision_reason=why, body={"why": why})


def _open_for(user: User, action_id: UUID | str, digest: str) -> Action:
    """The locked action, if this person may decide it now and has seen what would be decided."""
    action = reviewing.open_for(user, action_id)
    if digest != action.digest:
        raise Refused(
            "conflict", "the action changed since you saw it: look again, then decide", digest=action.digest,
            revision=action.revision,
        )  # fmt: skip
    return action


def _vote(
    action: Action, *, user: User, verdict: str, comment: str, channel: str, attention: Attention,
    answer: str = "",
) -> Vote:  # fmt: skip
    """One vote and its entry, which says what was seen."""
    if action.votes.filter(user=user, void=False).exists():
        raise Refused("conflict", "you have voted on this already; it needs other people too")
    if verdict == Vote.Verdict.APPROVE:
        word.refuse_double(action, user)
    signature = stepup.verified(action, user, verdict=verdict, comment=comment, answer=answer)
    group = put_to(action, user, verdict=verdict, channel=channel, signature=signature)
    body = {
        "by": user.username, "group": group, "verdict": verdict, "comment": comment, "digest": action.digest,
        "revision": action.revision, "channel": channel, **attention.body(),
    }  # fmt: skip
    if absent := stands_in_for(action, user, group):
        body["stands_in_for"] = absent
    if signature:
        body["signature"] = signature
    entry = record.append(
        kind=f"vote.{verdict}", actor=actor(user), session=action.session, action=str(action.pk), body=body,
        title=f"{action.tool}: {verdict} for {group}", text=comment, attributes={"group": group},
    )  # fmt: skip
    claims.settle(action, user=user)
    vote = Vote.objects.create(
        action=action, revision=action.revision, digest=action.digest, user=user, group=group,
        verdict=verdict,
        comment=comment, channel=channel, entry=entry.uuid,
    )  # fmt: skip
    attention.note(vote)
    return vote


def count(action: Action, *, by: str, name: str) -> Decision:
    """What comes of an approval that was just given: ready where it was the last one needed. The caller
    holds the lock. Nothing starts while any approval of it can be undone. Appends `action.ready`.
    """
    counted: Tally = tally(action)
    if counted.missing:
        states.announce(action)
        return Decision(action, "counted", f"Your vote counts. Still needed: {counted.missing}.")
    now = dbtime.now()
    starts = _starts(action, counted, now=now)
    states.move(
        action, to=S.READY, actor=by, decided_by=name, not_before=starts,
        deadline=later.start_by(action, now=now, not_before=starts),
        body={"votes": [str(vote.entry) for vote in counted.given], "by": name},
        title=f"{action.tool}: approved",
    )  # fmt: skip
    jobs.enqueue(action)
    return Decision(action, "approved", "Approved.")


def _starts(action: Action, counted: Tally, *, now: datetime) -> datetime | None:
    """From when on it may start; None for at once. Not only the last approval can be undone."""
    given = max((each.at for each in counted.given if each.undoable), default=None)
    undo_until = given + timedelta(seconds=settings.AGENTSEC_UNDO_SECONDS) if given else None
    if undo_until is None or undo_until <= now:
        return action.not_before
    return max(undo_until, action.not_before or undo_until)


def back_to_pending(action: Action, *, by: str, why: str) -> None:
    """Ask everybody again. The caller holds the lock. Appends `action.pending`."""
    void_all(action)
    waits = min((item["expires_after"] for item in action.approvals), default=900)
    states.move(
        action, to=S.PENDING, actor=by, decided_by="", allowance=None,
        deadline=later.ask_until(action, now=dbtime.now(), seconds=waits), body={"why": why},
    )  # fmt: skip


def _revise(action: Action, *, user: User, args: Mapping[str, Any]) -> tuple[judging.Judged, set[str]]:
    """The action with its next revision set on it (not saved), and which arguments changed."""
    active = releases.current()
    tool = active.tool(action.tool)
    checked = pipeline.checked(tool, args)
    changed = {
        name for name in {*checked, *action.args} if checked.get(name, ...) != action.args.get(name, ...)
    }
    if not changed:
        raise Refused("invalid", "the arguments are the same as before: approve instead")
    files.refuse_unknown(agent=action.agent, args=checked)
    budgets.change(action_id=action.pk, agent=action.agent, tool=tool.name, args=checked, now=dbtime.now())
    judged = judging.judge(
        agent=action.agent, session=action.session, tool=tool, args=checked,
        usage=facts.Facts.from_json(json.loads(action.facts_json)).usage, now=dbtime.now(), active=active,
        edited=judging.Edited(original=_original(action), by=user.username),
    )  # fmt: skip
    if judged.verdict.effect == "block":
        raise Refused("blocked", f"policy blocks the edited call: {judged.sentence}")
    asked_before = action.approvals
    action.revision += 1
    action.manifest = tool.manifest
    action.call_digest = arguments.call_digest(
        agent=action.agent.name, tool=tool.name, manifest=tool.manifest, args=checked
    )
    if changed & {name.partition(".")[0] for name in tool.authority_in({*checked, *action.args})}:
        action.needs_other_than = user.username
    pipeline.take_on(action, args=checked, judged=judged)
    pipeline.set_approvals(action, asking.both(asked_before, judged.approvals))
    return judged, changed


def _undone(action: Action, user: User) -> str:
    edited = (
        action.revision > 1 and action.revisions.filter(number=action.revision, by=user.username).exists()
    )
    if edited:
        return f"Undone, but your edit stays: revision {action.revision} waits for new votes."
    return "Undone. It waits for a decision again."


def _original(action: Action) -> dict[str, Any]:
    first: dict[str, Any] = json.loads(action.revisions.get(number=1).args_json)
    return first
