"""Giving the user's own word: approve, reject, take back.

Each verb locks the action first, then checks anew that whoever speaks may speak for the person whom the
session serves. Their word names the digest of what they saw. Nothing that is told back names anybody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from approvals import decisions, states, typed, word
from approvals.decisions import Decision
from approvals.models import Action
from approvals.word_models import USER, ConfirmationLink, Word
from policies.models import AgentKey, User
from traces import clean, dbtime, record
from traces.problems import Refused

S = Action.State
LONGEST_COMMENT = 10_000


@dataclass(frozen=True)
class Speaker:
    """Who gives the word of the person called `name`: one of the host application by its key, whoever opened
    that person's link, or that person signed in.
    """

    name: str
    key: AgentKey | None = None
    link: ConfirmationLink | None = None
    account: User | None = None

    @property
    def ways(self) -> dict[str, Any]:
        """As the columns of a Word."""
        return {"key": self.key, "link": self.link, "account": self.account}


def of_host(*, key: AgentKey, name: str) -> Speaker:
    """The host application, for the person it calls so. Raises Refused("forbidden") without `attest`."""
    if not key.attests:
        raise Refused("forbidden", "Only a key with the scope “attest” gives the user’s word.")
    return Speaker(name, key=key)


def of_link(link: ConfirmationLink) -> Speaker:
    """Whoever opened this link."""
    return Speaker(link.session.user, link=link)


def of_account(user: User) -> Speaker:
    """The signed-in person, for sessions that serve somebody of exactly their name."""
    return Speaker(user.username, account=user)


@transaction.atomic
def approve(
    *, action_id: UUID | str, speaker: Speaker, digest: str, comment: str = "", confirm: str = ""
) -> Decision:
    """The user wants it. Ready where nobody else is asked, or all others have approved.

    Locks the action, then its session. Appends `vote.approve` and perhaps `action.ready`. On a page nothing
    starts for five seconds. Raises Refused: not_found (not theirs), forbidden (step-up, or a speaker that
    may not speak), conflict (decided, changed, said before), invalid (confirmation).
    """
    action = _open_for(speaker, action_id, digest)
    typed.refuse(action, confirm)
    _refuse_weak(action, speaker)
    if action.words.filter(void=False).exists():
        raise Refused("conflict", "this was confirmed already")
    said = _say(action, speaker, Word.Verdict.APPROVE, comment)
    came = decisions.count(action, by=said.actor, name=word.SERVED)
    if came.effect == "approved":
        return Decision(action, "approved", "Confirmed.")
    return Decision(action, "counted", "Confirmed. Others still have to agree.")


@transaction.atomic
def reject(*, action_id: UUID | str, speaker: Speaker, digest: str, comment: str = "") -> Decision:
    """The user does not want it, which ends it, whatever they or others said before.

    Locks the action, then its session. Appends `vote.reject` and `action.rejected`. Raises Refused as
    approve.
    """
    action = _open_for(speaker, action_id, digest)
    action.words.filter(void=False).update(void=True)
    said = _say(action, speaker, Word.Verdict.REJECT, comment)
    states.move(
        action, to=S.REJECTED, actor=said.actor, decided_by=word.SERVED,
        decision_reason=said.comment or f"{word.SERVED} said no",
        body={"by": word.SERVED, "reason": said.comment},
    )  # fmt: skip
    return Decision(action, "rejected", "Rejected. The agent is told.")


@transaction.atomic
def undo(*, action_id: UUID | str, speaker: Speaker) -> Decision:
    """Take the word back within five seconds, before anything has started.

    Locks the action. Appends `vote.undone` and, if the action had become ready, `action.pending`. Raises
    Refused: not_found, conflict (too late).
    """
    action = _theirs(speaker, action_id)
    said = action.words.filter(void=False, verdict=Word.Verdict.APPROVE).first()
    until = dbtime.now() - timedelta(seconds=settings.AGENTSEC_UNDO_SECONDS)
    if said is None or said.at < until or action.state not in (S.PENDING, S.READY):
        raise Refused("conflict", "it is too late to take it back")
    said.void = True
    said.save(update_fields=["void"])
    by = Word(**speaker.ways).actor
    record.append(
        kind="vote.undone", actor=by, session=action.session, action=str(action.pk),
        body={"by": speaker.name, "vote": str(said.entry), "revision": action.revision},
        title=f"{action.tool}: {word.SERVED} takes the approval back",
    )  # fmt: skip
    if action.state == S.READY:
        decisions.back_to_pending(action, by=by, why="the approval was taken back")
    else:
        states.announce(action)
    return Decision(action, "undone", "Taken back. It waits for you again.")


def _theirs(speaker: Speaker, action_id: UUID | str) -> Action:
    """The locked action, if this is theirs to speak for. Raises Refused: not_found, forbidden."""
    action = states.lock(action_id)
    if not word.asks(action) or not _concerns(speaker, action):
        raise Refused("not_found", "no such action")
    if why := word.obstacle(action.session):
        raise Refused("forbidden", f"nobody’s word counts here: {why}")
    if speaker.name != action.session.user:
        raise Refused("forbidden", "this session does not serve that person")
    if not _still_speaks(speaker):
        raise Refused("forbidden", "this link, key or account does not work any more")
    return action


def _concerns(speaker: Speaker, action: Action) -> bool:
    """Whether the speaker may know of the action at all."""
    if speaker.key is not None:
        return speaker.key.agent_id == action.agent_id
    if speaker.link is not None:
        return speaker.link.session_id == action.session_id
    return speaker.account is not None and word.is_served(speaker.account, action.session)


def _still_speaks(speaker: Speaker) -> bool:
    """As of now, whatever was read when the request began."""
    now = dbtime.now()
    if speaker.key is not None:
        keys = AgentKey.objects.usable(now).filter(pk=speaker.key.pk, scopes__contains=["attest"])
        return keys.exists()
    if speaker.link is not None:
        return ConfirmationLink.objects.living(now).filter(pk=speaker.link.pk).exists()
    if speaker.account is None:
        return False
    people = User.objects.filter(pk=speaker.account.pk, is_active=True)
    return people.filter(username=speaker.name).exists()


def _open_for(speaker: Speaker, action_id: UUID | str, digest: str) -> Action:
    action = _theirs(speaker, action_id)
    if action.state != S.PENDING:
        label = S(action.state).label.lower()
        raise Refused("conflict", f"this is already {label}", state=action.state)
    if action.deadline <= dbtime.now():
        raise Refused("conflict", "the time to decide is over", state=S.EXPIRED)
    if digest != action.digest:
        raise Refused(
            "conflict", "it changed since you saw it: look again, then decide", digest=action.digest,
            revision=action.revision,
        )  # fmt: skip
    return action


def _refuse_weak(action: Action, speaker: Speaker) -> None:
    """No way of giving one's word is signed by a passkey; one account does not speak twice."""
    if any(item["step_up"] for item in action.approvals if item["group"] == USER):
        raise Refused("forbidden", "this needs step-up, which nobody’s own word satisfies")
    account = speaker.account
    if account is not None and action.votes.filter(void=False, user=account).exists():
        raise Refused("forbidden", "you have voted on this already, and one person counts once")


def _say(action: Action, speaker: Speaker, verdict: str, comment: str) -> Word:
    """One word and its entry, which says what was seen."""
    comment = clean.storable(comment).strip()[:LONGEST_COMMENT]
    said = Word(
        action=action, revision=action.revision, digest=action.digest, verdict=verdict, comment=comment,
        **speaker.ways,
    )  # fmt: skip
    body = {
        "by": speaker.name, "group": USER, "verdict": verdict, "comment": comment, "digest": action.digest,
        "revision": action.revision, "channel": said.channel,
    }  # fmt: skip
    title = f"{action.tool}: {verdict} by {word.SERVED}, {word.WAYS[said.channel]}"
    entry = record.append(
        kind=f"vote.{verdict}", actor=said.actor, session=action.session, action=str(action.pk), body=body,
        title=title, text=comment, attributes={"group": USER},
    )  # fmt: skip
    said.entry = entry.uuid
    said.save()
    return said
