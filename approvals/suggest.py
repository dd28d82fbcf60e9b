"""Suggest: a narrow rule from decisions that people made alike, with its backtest, ending by itself.

Offered, never applied by itself: a policy editor makes it a draft, which is then published like any other.
Any ask outweighs an allow, so the draft adds a narrow allow and, to each rule that asks, an exception in its
own condition. Blocks and all other asks stand as they were, and both edits end at the same moment.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from approvals import alike, weighing
from approvals.alike import Alike
from approvals.growth_models import Chore, Suggestion
from approvals.models import Action
from approvals.weighing import LONGEST_DAYS, Edit, Weighed
from policies import engine, escalating, releases
from policies.access import Verb, actor, may, require
from policies.arguments import digest
from policies.models import Rule, User
from policies.narrow import TooWide
from traces import record
from traces.problems import Refused

CHORE = "suggest"
DOMAIN = b"agentsec/suggestion/v1\n"
MAX_KINDS = 50
State = Suggestion.State


@dataclass(frozen=True)
class Passed:
    """A kind of call that was decided alike often enough, and why nothing is suggested for it."""

    agent: str
    tool: str
    rules: Sequence[str]
    why: str


def find() -> list[Passed]:
    """Look through the decisions of the last days and bring the offered suggestions up to date.

    Adds, refreshes and withdraws suggestions; what was dismissed or drafted stays as it is (a drafted one may
    be offered again once it has ended, or its rule is gone from the draft). Appends nothing, since nothing is
    decided. Returns what was passed over, with the reason. Raises Refused("invalid") where the draft does not
    compile.
    """
    content = releases.draft_content()
    base = releases.activate(content)
    passed, found = [], set()
    for kind in list(weighing.candidates(alike.groups()))[:MAX_KINDS]:
        try:
            found.add(_offer(kind, weighing.weigh(kind, content, base)).pk)
        except TooWide as why:
            agent = Action.objects.filter(agent=kind.agent_id).values_list("agent__name", flat=True)[0]
            passed.append(Passed(agent, kind.tool, kind.rules, str(why)))
    Suggestion.objects.filter(state=State.OFFERED).exclude(pk__in=found).delete()
    Chore.objects.update_or_create(
        name=CHORE, defaults={"place": {"passed": [vars(item) for item in passed]}}
    )
    return passed


def passed_over() -> list[Passed]:
    """What the last look passed over."""
    chore = Chore.objects.filter(name=CHORE).first()
    return [Passed(**item) for item in chore.place.get("passed", [])] if chore else []


def offered_for(action: Action, *, user: User | None) -> Suggestion | None:
    """The offered suggestion for calls like this one, for who may read policies."""
    if not isinstance(user, User) or not may(user, Verb.POLICY_READ).allowed:
        return None
    rules = list(alike.rules_of(action.approvals_json))
    return Suggestion.objects.filter(
        agent=action.agent_id, tool=action.tool, rules=rules, state=State.OFFERED
    ).first()


def weighed(suggestion: Suggestion) -> Weighed:
    """What speaks for a suggestion now, not when it was found. Raises Refused("gone") with the reason."""
    content = releases.draft_content()
    kinds = {(kind.agent_id, kind.tool, kind.rules): kind for kind in weighing.candidates(alike.groups())}
    kind = kinds.get((suggestion.agent_id, suggestion.tool, tuple(suggestion.rules)))
    if kind is None:
        raise Refused("gone", "The decisions do not speak for it any more.")
    try:
        return weighing.weigh(kind, content, releases.activate(content))
    except TooWide as why:
        raise Refused("gone", f"It is not offered any more: {why}.") from None


def edits(suggestion: Suggestion, *, end: datetime) -> list[Edit]:
    """What making it a draft would change: the exceptions first, then the new rule."""
    specs = {rule.name: releases.spec(rule) for rule in Rule.objects.all()}
    asking = [specs[name] for name in suggestion.rules if name in specs]
    calls = weighing.Calls(suggestion.agent.name, suggestion.tool, suggestion.condition)
    return weighing.edits_of(asking, calls, end, name=_name(suggestion, specs), about=_about(suggestion))


@transaction.atomic
def draft(*, suggestion_id: int, digest: str, user: User, days: int) -> Suggestion:
    """Make a suggestion part of the draft; it decides nothing before somebody publishes it.

    Locks the suggestion and the rules it edits. `digest` is that of what the person saw. Appends
    `policy.drafted` for each rule and `suggestion.drafted`. Raises Refused: forbidden, not_found, conflict
    (decided, or changed since it was seen), gone (the decisions do not speak for it any more), invalid.
    """
    require(user, Verb.POLICY_EDIT)
    if not 1 <= days <= LONGEST_DAYS:
        raise Refused("invalid", f"A suggested rule ends after 1 to {LONGEST_DAYS} days.")
    row = _open(suggestion_id, digest)
    end = timezone.now().replace(microsecond=0) + timedelta(days=days)
    list(Rule.objects.select_for_update().filter(name__in=row.rules))
    if _digest(row.rules, weighed(row).narrow.condition) != row.digest:
        raise Refused("conflict", "What it rests on has changed since it was found: look again.")
    made = edits(row, end=end)
    for edit in made:
        _apply(edit, by=actor(user))
    return _decide(row, user, State.DRAFTED, rule=made[-1].after.name, ends_at=end)


@transaction.atomic
def dismiss(*, suggestion_id: int, digest: str, user: User, reason: str) -> Suggestion:
    """Put a suggestion aside; it is not offered again until somebody offers it again.

    Locks the suggestion. Appends `suggestion.dismissed`. Raises Refused as draft.
    """
    require(user, Verb.POLICY_EDIT)
    return _decide(_open(suggestion_id, digest), user, State.DISMISSED, reason=reason.strip()[:500])


@transaction.atomic
def offer_again(*, suggestion_id: int, user: User) -> None:
    """Let a dismissed suggestion be found again. Appends `suggestion.reopened`. Raises Refused."""
    require(user, Verb.POLICY_EDIT)
    row = Suggestion.objects.select_for_update().filter(pk=suggestion_id, state=State.DISMISSED).first()
    if row is None:
        raise Refused("not_found", "There is no such dismissed suggestion.")
    _log(row, user, "reopened")
    row.delete()


def _apply(edit: Edit, *, by: str) -> None:
    problems = engine.check_condition(edit.after.when)
    if problems:
        raise Refused("invalid", f"rule {edit.after.name}: {'; '.join(map(str, problems))}")
    if edit.before is not None:
        releases.edit(row=Rule.objects.get(name=edit.before.name), values={"when": edit.after.when}, by=by)
        return
    plain = {name: value for name, value in asdict(edit.after).items() if name != "id"}
    rule = Rule.objects.create(
        **{
            **plain,
            "agents": list(edit.after.agents),
            "tools": list(edit.after.tools),
            "escalate": escalating.plain(edit.after.escalate),
            "egress": list(edit.after.egress) if edit.after.egress is not None else None,
        }
    )
    releases.drafted(by=by, what=f"Rule {rule.name}", changed=[f"rule {rule.name}: created"])


def _offer(kind: Alike, found: Weighed) -> Suggestion:
    """The suggestion of this kind, new or refreshed; a decided one is left alone until it is over."""
    about = {"agent_id": kind.agent_id, "tool": kind.tool, "rules": list(kind.rules)}
    offered = {
        "condition": found.narrow.condition, "digest": _digest(kind.rules, found.narrow.condition),
        "evidence_json": json.dumps(found.evidence()), "found_at": timezone.now(),
    }  # fmt: skip
    with transaction.atomic():
        row, made = Suggestion.objects.select_for_update().get_or_create(**about, defaults=offered)
        if not made and (row.state == State.OFFERED or _over(row)):
            clean = {
                "state": State.OFFERED,
                "decided_by": "",
                "decided_at": None,
                "rule": "",
                "ends_at": None,
            }
            Suggestion.objects.filter(pk=row.pk).update(**offered, **clean)
    return row


def _over(row: Suggestion) -> bool:
    """Whether what it became has ended, or is gone from the draft, by a rollback say."""
    if row.state != State.DRAFTED or row.ends_at is None:
        return False
    return row.ends_at <= timezone.now() or not Rule.objects.filter(name=row.rule).exists()


def _digest(rules: Sequence[str], condition: str) -> str:
    return digest(DOMAIN, {"rules": sorted(rules), "condition": condition})


def _open(suggestion_id: int, seen: str) -> Suggestion:
    rows = Suggestion.objects.select_for_update(of=("self",)).select_related("agent")
    row = rows.filter(pk=suggestion_id).first()
    if row is None:
        raise Refused("not_found", "There is no such suggestion any more.")
    if row.state != State.OFFERED:
        raise Refused("conflict", f"It is already {row.state}.")
    if row.digest != seen:
        raise Refused("conflict", "It has changed since you saw it: look again, then decide.")
    return row


def _decide(row: Suggestion, user: User, state: str, **fields: Any) -> Suggestion:
    values = {"state": state, "decided_by": user.username, "decided_at": timezone.now(), **fields}
    for name, value in values.items():
        setattr(row, name, value)
    row.save(update_fields=list(values))
    _log(row, user, state)
    return row


def _log(row: Suggestion, user: User, what: str) -> None:
    body = {
        "agent": row.agent_id, "tool": row.tool, "rules": row.rules, "condition": row.condition,
        "reason": row.reason, "rule": row.rule, "ends_at": row.ends_at and row.ends_at.isoformat(),
        "evidence": row.evidence,
    }  # fmt: skip
    title = f"Suggestion for {row.agent.name} and {row.tool} {what}"
    record.append(kind=f"suggestion.{what}", actor=actor(user), body=body, title=title, text=row.reason)


def _name(row: Suggestion, taken: Mapping[str, Any]) -> str:
    plain = f"spare-{row.tool}-{row.agent.name}"[:90]
    free: Callable[[str], bool] = lambda name: name not in taken  # noqa: E731
    return next(name for name in (plain, *(f"{plain}-{n}" for n in range(2, 10_000))) if free(name))


def _about(row: Suggestion) -> str:
    told = row.evidence
    people = ", ".join(told["people"][:5]) + (" and others" if len(told["people"]) > 5 else "")
    return f"{told['calls']} like calls were approved in {told['days']} days, by {people}, and none rejected"
