"""Suggest: a narrow rule from decisions that people made alike, with its backtest, ending by itself.

Offered, never applied by itself: a policy editor makes it a draft, which is then published like any other.
Any ask outweighs an allow, so the draft adds a narrow allow and, to each rule that asks, an exception in its
own condition. Blocks and all other asks stand as they were, and both edits end at the same moment.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from approvals import alike
from approvals.alike import Alike
from approvals.growth_models import Suggestion
from approvals.models import Action, Vote
from policies import backtest, engine, facts, narrow, releases
from policies.access import Verb, actor, require
from policies.arguments import digest
from policies.backtest import Difference, Past
from policies.facts import Facts
from policies.models import Rule, User
from policies.narrow import Narrow, TooWide
from policies.releases import Active
from policies.rules import RuleSpec
from traces import record
from traces.problems import Refused

DOMAIN = b"agentsec/suggestion/v1\n"
LONGEST_DAYS = 90
SAMPLES, TRIED = 500, 5_000
MAX_KINDS = 50
State = Suggestion.State


@dataclass(frozen=True)
class Weighed:
    """A kind of call that a rule could spare, and what speaks for it."""

    narrow: Narrow
    calls: int
    people: tuple[str, ...]
    first: datetime
    last: datetime
    difference: Difference

    def evidence(self) -> dict[str, Any]:
        return {
            "lines": self.narrow.lines, "calls": self.calls, "people": self.people,
            "first": self.first.isoformat(), "last": self.last.isoformat(),
            "difference": self.difference.to_json(), "days": settings.AGENTSEC_SUGGEST["days"],
        }  # fmt: skip


@dataclass(frozen=True)
class _Calls:
    """Which calls a suggestion is about: the names of agent and tool, and the condition."""

    agent: str
    tool: str
    condition: str


@dataclass(frozen=True)
class Passed:
    """A kind of call that was decided alike often enough, and why nothing is suggested for it."""

    agent: str
    tool: str
    rules: tuple[str, ...]
    why: str


def find() -> list[Passed]:
    """Look through the decisions of the last days and bring the offered suggestions up to date.

    Adds, refreshes and withdraws suggestions; what was dismissed or drafted stays as it is (a drafted one may
    be offered again once it has ended). Appends nothing, since nothing is decided. Returns what was passed
    over, with the reason. Raises Refused("invalid") where the draft does not compile.
    """
    content = releases.draft_content()
    base = releases.activate(content)
    passed, found = [], set()
    for kind in list(_candidates(alike.groups()))[:MAX_KINDS]:
        try:
            found.add(_offer(kind, _weigh(kind, content, base)).pk)
        except TooWide as why:
            agent = Action.objects.filter(agent=kind.agent_id).values_list("agent__name", flat=True)[0]
            passed.append(Passed(agent, kind.tool, kind.rules, str(why)))
    Suggestion.objects.filter(state=State.OFFERED).exclude(pk__in=found).delete()
    return passed


def weighed(suggestion: Suggestion) -> Weighed:
    """What speaks for a suggestion now, not when it was found. Raises Refused("gone") with the reason."""
    content = releases.draft_content()
    kinds = {(kind.agent_id, kind.tool, kind.rules): kind for kind in _candidates(alike.groups())}
    kind = kinds.get((suggestion.agent_id, suggestion.tool, tuple(suggestion.rules)))
    if kind is None:
        raise Refused("gone", "The decisions do not speak for it any more.")
    try:
        return _weigh(kind, content, releases.activate(content))
    except TooWide as why:
        raise Refused("gone", f"It is not offered any more: {why}.") from None


@dataclass(frozen=True)
class Edit:
    """One rule of the draft as it is (None: it is new) and as it would be."""

    before: RuleSpec | None
    after: RuleSpec


def edits(suggestion: Suggestion, *, end: datetime) -> list[Edit]:
    """What making it a draft would change: the exceptions first, then the new rule."""
    specs = {rule.name: releases.spec(rule) for rule in Rule.objects.all()}
    asking = [specs[name] for name in suggestion.rules if name in specs]
    calls = _Calls(suggestion.agent.name, suggestion.tool, suggestion.condition)
    return _edits(asking, calls, end, name=_name(suggestion, specs), about=_about(suggestion))


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


def _candidates(kinds: Sequence[Alike]) -> Iterator[Alike]:
    """Kinds approved often enough, where no call that shares a rule was rejected or edited."""
    doubted: dict[tuple[int, str], set[str]] = {}
    for kind in kinds:
        if kind.rejected or kind.edited:
            doubted.setdefault((kind.agent_id, kind.tool), set()).update(kind.rules)
    seen = set()
    for kind in kinds:
        key = (kind.agent_id, kind.tool, kind.rules)
        doubts = doubted.get((kind.agent_id, kind.tool), set()) & set(kind.rules)
        # One whose quorum changed meanwhile comes twice; the one with more approvals speaks for both.
        if kind.approved >= settings.AGENTSEC_SUGGEST["approvals"] and not doubts and key not in seen:
            seen.add(key)
            yield kind


def _weigh(kind: Alike, content: Mapping[str, Any], base: Active) -> Weighed:
    """Raises TooWide where nothing can be offered, with the reason."""
    asking = _asking(kind.rules, content)
    columns = ("pk", "created_at", "facts_json")
    rows = list(kind.calls().order_by("-created_at").values_list(*columns)[:SAMPLES])
    seen = [(pk, at, _seen(text, base)) for pk, at, text in rows]
    alike_now = [item for item in seen if _asked_by(item[2], base) == kind.rules]
    needed = settings.AGENTSEC_SUGGEST["approvals"]
    if len(alike_now) < needed:
        raise TooWide(f"by the draft only {len(alike_now)} of these calls would be asked about so")
    calls = [seen for _, _, seen in alike_now]
    found = narrow.narrow(calls, domains=settings.AGENTSEC_DOMAINS)
    agent = calls[0].agent.name
    candidate = _candidate(content, asking, _Calls(agent, kind.tool, found.condition))
    if any(engine.decide(call, candidate.compiled).effect != "allow" for call in calls):
        raise TooWide("another rule would still ask about or block some of these calls")
    difference = _difference(kind, base, candidate)
    _refuse_doubtful(difference)
    keys, times = [pk for pk, _, _ in alike_now], [at for _, at, _ in alike_now]
    votes = Vote.objects.filter(action__in=keys, void=False, verdict="approve").order_by("user__username")
    people = tuple(votes.values_list("user__username", flat=True).distinct())
    return Weighed(found, len(calls), people, min(times), max(times), difference)


def _asking(names: Sequence[str], content: Mapping[str, Any]) -> list[RuleSpec]:
    by_name = {rule["name"]: RuleSpec.from_json(rule) for rule in content["rules"]}
    rules = [by_name[name] for name in names if name in by_name]
    if len(rules) < len(names) or any(rule.effect != "ask" or rule.mode != "live" for rule in rules):
        raise TooWide("the draft does not ask by these rules any more")
    if any(rule.step_up for rule in rules):
        raise TooWide("a rule wants people to be present when they approve (step-up)")
    if len({rule.fallback for rule in rules}) > 1:
        raise TooWide("a condition failed, so that a fallback asked beside another rule")
    return rules


def _seen(text: str, active: Active) -> Facts:
    """The facts of then, with the tool as the draft declares it."""
    seen = Facts.from_json(json.loads(text))
    return facts.build(
        args=seen.args, tool=active.tool(seen.tool.name).facts(), agent=seen.agent, session=seen.session,
        origin=seen.origin, findings=seen.findings, usage=seen.usage, now=seen.now,
    )  # fmt: skip


def _asked_by(seen: Facts, active: Active) -> tuple[str, ...] | None:
    """The rules that ask, sorted; None where it is not asked, or a condition failed."""
    verdict = engine.decide(seen, active.compiled)
    if verdict.effect != "ask" or any(match.error for match in verdict.matched):
        return None
    return tuple(sorted(match.name for match in verdict.matched if match.effect == "ask"))


def _candidate(content: Mapping[str, Any], asking: Sequence[RuleSpec], calls: _Calls) -> Active:
    """The draft with the suggestion in it. Raises TooWide where it does not compile."""
    end = timezone.now() + timedelta(days=LONGEST_DAYS)
    made = [edit.after.to_json() for edit in _edits(asking, calls, end, name="suggested rule", about="")]
    changed = {rule["name"] for rule in made}
    kept = [rule for rule in content["rules"] if rule["name"] not in changed]
    try:
        return releases.activate({**content, "rules": [*kept, *made]})
    except Refused as refused:
        raise TooWide(f"the rule would not compile: {refused.detail}") from None


def _difference(kind: Alike, base: Active, candidate: Active) -> Difference:
    """What it alone would have changed: calls of this agent with this tool, as the draft judges them."""
    rows = Action.objects.filter(agent=kind.agent_id, tool=kind.tool, created_at__gte=alike.since())
    columns = ("pk", "facts_json", "state")
    rejected = rows.filter(state=Action.State.REJECTED).values_list(*columns)
    others = rows.exclude(state=Action.State.REJECTED).order_by("-created_at").values_list(*columns)[:TRIED]
    return backtest.judge(
        (_past(*row, base=base) for found in (rejected, others) for row in found.iterator(chunk_size=500)),
        compiled=candidate.compiled, tools=candidate.tools, into=Difference(),
    )  # fmt: skip


def _past(pk: Any, text: str, state: str, *, base: Active) -> Past:
    was = engine.decide(_seen(text, base), base.compiled)
    return Past(str(pk), text, json.dumps(was.to_json()), rejected=state == Action.State.REJECTED)


def _refuse_doubtful(difference: Difference) -> None:
    if difference.unread:
        raise TooWide("some past calls could not be read, so what it would change is not known")
    if difference.changes(rejected=True):
        raise TooWide("it would let pass a call that somebody rejected")
    if any((found.before, found.after) != ("ask", "allow") for found in difference.changes(rejected=False)):
        raise TooWide("it would change who else is asked about some calls")


def _edits(asking: Sequence[RuleSpec], calls: _Calls, end: datetime, *, name: str, about: str) -> list[Edit]:
    spared = narrow.exception(calls.condition, agent=calls.agent, tool=calls.tool, end=end)
    changed = [Edit(rule, _with(rule, when=narrow.excepted(rule.when, spared))) for rule in asking]
    # A fallback question is spared by a fallback: other fallbacks, stricter ones too, are still heard.
    allowed = RuleSpec(
        id=name, name=name, effect="allow", description=about, agents=(calls.agent,), tools=(calls.tool,),
        when=calls.condition, until=end, fallback=all(rule.fallback for rule in asking),
    )  # fmt: skip
    return [*changed, Edit(None, allowed)]


def _with(rule: RuleSpec, *, when: str) -> RuleSpec:
    return RuleSpec(**{**vars(rule), "when": when})


def _apply(edit: Edit, *, by: str) -> None:
    problems = engine.check_condition(edit.after.when)
    if problems:
        raise Refused("invalid", f"rule {edit.after.name}: {'; '.join(map(str, problems))}")
    if edit.before is not None:
        releases.edit(row=Rule.objects.get(name=edit.before.name), values={"when": edit.after.when}, by=by)
        return
    plain = {name: value for name, value in asdict(edit.after).items() if name != "id"}
    rule = Rule.objects.create(
        **{**plain, "agents": list(edit.after.agents), "tools": list(edit.after.tools)}
    )
    releases.drafted(by=by, what=f"Rule {rule.name}", changed=[f"rule {rule.name}: created"])


def _offer(kind: Alike, found: Weighed) -> Suggestion:
    """The suggestion of this kind, new or refreshed; a decided one is left alone until it has ended."""
    about = {"agent_id": kind.agent_id, "tool": kind.tool, "rules": list(kind.rules)}
    offered = {
        "condition": found.narrow.condition, "digest": _digest(kind.rules, found.narrow.condition),
        "evidence_json": json.dumps(found.evidence()), "found_at": timezone.now(),
    }  # fmt: skip
    with transaction.atomic():
        row, made = Suggestion.objects.select_for_update().get_or_create(**about, defaults=offered)
        ended = row.state == State.DRAFTED and row.ends_at is not None and row.ends_at <= timezone.now()
        if not made and (row.state == State.OFFERED or ended):
            clean = {"state": State.OFFERED, "decided_by": "", "decided_at": None, "rule": "", "ends_at": None}
            Suggestion.objects.filter(pk=row.pk).update(**offered, **clean)
    return row


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
