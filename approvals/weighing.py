"""Weighing: whether decisions made alike speak for a narrow rule, which one, and what it would have changed.

Nothing is stored here. The rule is tried as it would stand in the draft, on every decided call of its kind
and on all other calls of the same agent and tool; any doubt is a refusal with its reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from approvals import alike
from approvals.alike import Alike
from approvals.models import Action, Vote
from policies import backtest, engine, facts, narrow, reach, releases
from policies.backtest import Difference, Past
from policies.facts import Facts
from policies.narrow import Narrow, TooWide
from policies.releases import Active
from policies.rules import RuleSpec
from traces.problems import Refused

LONGEST_DAYS = 90
SAMPLES, TRIED = 500, 5_000


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
class Calls:
    """Which calls a suggestion is about: the names of agent and tool, and the condition."""

    agent: str
    tool: str
    condition: str


@dataclass(frozen=True)
class Candidate:
    """A draft with a suggestion in it: as content, and ready to judge."""

    content: Mapping[str, Any]
    active: Active


@dataclass(frozen=True)
class Edit:
    """One rule of the draft as it is (None: it is new) and as it would be."""

    before: RuleSpec | None
    after: RuleSpec


def candidates(kinds: Sequence[Alike]) -> Iterator[Alike]:
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


def weigh(kind: Alike, content: Mapping[str, Any], base: Active) -> Weighed:
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
    candidate = _candidate(content, asking, Calls(agent, kind.tool, found.condition))
    if any(engine.decide(call, candidate.active.compiled).effect != "allow" for call in calls):
        raise TooWide("another rule would still ask about or block some of these calls")
    _refuse_failing_cases(content, candidate)
    difference = _difference(kind, base, candidate.active)
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


def _candidate(content: Mapping[str, Any], asking: Sequence[RuleSpec], calls: Calls) -> Candidate:
    """The draft with the suggestion in it. Raises TooWide where it does not compile."""
    end = timezone.now() + timedelta(days=LONGEST_DAYS)
    made = [edit.after.to_json() for edit in edits_of(asking, calls, end, name="suggested rule")]
    changed = {rule["name"] for rule in made}
    kept = [rule for rule in content["rules"] if rule["name"] not in changed]
    wanted = {**content, "rules": [*kept, *made]}
    try:
        return Candidate(wanted, releases.activate(wanted))
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


def _refuse_failing_cases(content: Mapping[str, Any], candidate: Candidate) -> None:
    """A case is somebody's word on what must be asked; what contradicts it could not be published."""
    before = {str(problem) for problem in releases.problems(content)}
    broken = [problem for problem in releases.problems(candidate.content) if str(problem) not in before]
    if broken:
        raise TooWide(f"the {broken[0].kind} “{broken[0].name}” says otherwise")


def _refuse_doubtful(difference: Difference) -> None:
    if difference.unread:
        raise TooWide("some past calls could not be read, so what it would change is not known")
    if difference.changes(rejected=True):
        raise TooWide("it would let pass a call that somebody rejected")
    if any((found.before, found.after) != ("ask", "allow") for found in difference.changes(rejected=False)):
        raise TooWide("it would change who else is asked about some calls")


def edits_of(
    asking: Sequence[RuleSpec], calls: Calls, end: datetime, *, name: str, about: str = ""
) -> list[Edit]:
    """The exceptions and the allow. Each holds only where all of these rules ask, as they did of the calls
    that were approved: what fewer of them ask about, or nobody, is none of it.
    """
    changed = []
    for rule in asking:
        together = [other.when for other in asking if other is not rule]
        spared = narrow.all_of([*together, calls.condition]) if any(together) else calls.condition
        exception = narrow.exception(spared, agent=calls.agent, tool=calls.tool, end=end)
        changed.append(Edit(rule, replace(rule, when=narrow.excepted(rule.when, exception))))
    whens = [rule.when for rule in asking if rule.when.strip()]
    # A fallback question is spared by a fallback: other fallbacks, stricter ones too, are still heard.
    allowed = RuleSpec(
        id=name, name=name, effect="allow", description=about, agents=(calls.agent,), tools=(calls.tool,),
        when=narrow.all_of([*whens, calls.condition]) if whens else calls.condition, until=end,
        fallback=all(rule.fallback for rule in asking), egress=_egress(asking),
    )  # fmt: skip
    return [*changed, Edit(None, allowed)]


def _egress(asking: Sequence[RuleSpec]) -> tuple[str, ...] | None:
    """What is not asked any more reaches no more than it did when people were asked."""
    bounds = [rule.egress for rule in asking if rule.egress is not None]
    try:
        return reach.joined(bounds) if bounds else None
    except ValueError as error:
        raise TooWide(f"what these calls may reach cannot be worked out: {error}") from None
