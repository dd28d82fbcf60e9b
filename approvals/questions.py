"""A reviewer asks the agent, and the agent answers, while the action waits.

Neither changes what would be approved. The answer is the agent's own words: it is inspected, shown as such,
and no argument's origin ever rests on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from approvals import notify, states
from approvals.models import Action, Question
from approvals.reviewing import open_for, worded
from policies import labels, limits
from policies.access import actor
from policies.firewall import Inspection, inspect
from policies.models import Agent, User
from traces import record
from traces.problems import Refused

MOST = 5
LONGEST_QUESTION = 2_000
LONGEST_ANSWER = 4_000
ASKED, ANSWERED = "asked", "answered"


@transaction.atomic
def ask(*, action_id: UUID | str, user: User, text: str) -> Question:
    """Ask the agent something about its action, which goes on waiting. The first question of an action gives
    it more time, once: `AGENTSEC_QUESTION_MINUTES`, and never more than the asking rules themselves gave.

    Locks the action, then its session. Appends `question.asked`. Raises Refused: not_found, forbidden,
    conflict (decided, or too many questions), invalid (empty, too long).
    """
    said = worded(text, longest=LONGEST_QUESTION, empty="ask something")
    action = open_for(user, action_id)
    if action.questions.count() >= MOST:
        raise Refused(
            "conflict", f"{MOST} questions were asked already: decide it, or reject it with a reason"
        )
    more = _more_time(action)
    deadline = action.deadline + timedelta(seconds=more)
    body = {
        "by": user.username, "text": said, "digest": action.digest, "revision": action.revision,
        "extended_by": more, "deadline": deadline.isoformat(),
    }  # fmt: skip
    entry = record.append(
        kind="question.asked", actor=actor(user), session=action.session, action=str(action.pk), body=body,
        title=f"{action.tool}: a question to the agent", text=said,
    )  # fmt: skip
    question = Question.objects.create(
        action=action, user=user, text=said, entry=entry.uuid, extended_by=more
    )
    action.deadline, action.talk = deadline, ASKED
    action.save(update_fields=["deadline", "talk"])
    states.announce(action)
    return question


def answer(*, action_id: UUID | str, agent: Agent, question_id: UUID | str, text: str) -> Question:
    """The agent's answer, once for each question, as far as the firewall lets it pass. The same answer again
    is no error.

    Locks the action, then its session. Appends `question.answered` (and `session.labelled`). Raises Refused:
    not_found (another agent's), conflict (answered before, or the action no longer waits), invalid, limit.
    """
    said = worded(text, longest=LONGEST_ANSWER, empty="answer something")
    # Reading a text takes time and counts against the agent: before anything is locked.
    _own(agent, action_id)
    limits.admit_text(agent, octets=len(said.encode()))
    seen = inspect(said, direction="output", source=f"agent:{agent.name}")
    with transaction.atomic():
        action = states.lock(action_id)
        question = action.questions.select_related("user").filter(pk=question_id).first()
        if question is None:
            raise Refused("not_found", "no such question about this action")
        if question.answered_at is not None and question.answer == seen.text:
            return question
        _refuse_answer(action, question)
        _keep(action, question, seen, said)
    return question


def deliver(action: Action) -> bool:
    """Note that the agent is being told of its questions; true where one of them is new to it."""
    if action.talk != ASKED:
        return False
    new = Question.objects.filter(action=action, told_at=None)
    return new.update(told_at=timezone.now()) > 0


def of(action: Action) -> tuple[Question, ...]:
    """The questions about an action, the first one first; asks the database only where there are some."""
    if not action.talk:
        return ()
    known = "questions" in getattr(action, "_prefetched_objects_cache", {})
    return tuple(action.questions.all() if known else action.questions.select_related("user"))


def described(action: Action) -> list[dict[str, Any]]:
    """The questions about an action and their answers, as JSON, the first one first."""
    return [_described(question) for question in of(action)]


def counted(action: Action) -> str:
    """How many questions, and how many of them are answered, as "2:1"; differs whenever something came."""
    asked = of(action)
    return f"{len(asked)}:{sum(each.answered_at is not None for each in asked)}"


def _own(agent: Agent, action_id: UUID | str) -> None:
    if not Action.objects.filter(pk=action_id, agent=agent).exists():
        raise Refused("not_found", "no such action")


def _more_time(action: Action) -> int:
    if action.questions.filter(extended_by__gt=0).exists():
        return 0
    given = min((int(item["expires_after"]) for item in action.approvals), default=0)
    return min(settings.AGENTSEC_QUESTION_MINUTES * 60, given)


def _refuse_answer(action: Action, question: Question) -> None:
    if question.answered_at is not None:
        raise Refused("conflict", "this question is answered already")
    if action.state != Action.State.PENDING:
        raise Refused("conflict", states.already(action), state=action.state)


def _keep(action: Action, question: Question, seen: Inspection, said: str) -> None:
    findings = [asdict(finding) for finding in seen.findings]
    body: Mapping[str, Any] = {
        "question": str(question.pk), "text": said, "shown": seen.text, "verdict": seen.verdict,
        "findings": findings,
    }  # fmt: skip
    who = f"agent:{action.agent_id}"
    entry = record.append(
        kind="question.answered", actor=who, session=action.session, action=str(action.pk), body=body,
        title=f"{action.tool}: the agent answers", text=seen.text,
    )  # fmt: skip
    labels.gather(session=action.session, labels=seen.labels, why="the agent answered a question", actor=who)
    question.answer, question.findings_json = seen.text, json.dumps(findings)
    question.verdict = seen.verdict
    question.answered_at, question.answer_entry = timezone.now(), entry.uuid
    question.save()
    open_ = action.questions.filter(answered_at=None).exists()
    action.talk = ASKED if open_ else ANSWERED
    action.save(update_fields=["talk"])
    notify.about(action, kind=notify.NoticeKind.ANSWERED, users=[question.user])
    states.announce(action)


def _described(question: Question) -> dict[str, Any]:
    told: dict[str, Any] = {
        "id": str(question.pk), "text": question.text, "by": question.user.username,
        "at": question.at.isoformat(),
    }  # fmt: skip
    if question.answered_at is not None:
        told |= {"answer": question.answer, "answered_at": question.answered_at.isoformat()}
    return told
