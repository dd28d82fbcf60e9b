"""Releases: rules and tools are edited as drafts; what decides is what was published, frozen by digest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from policies import cases, differ, engine, escalating, foureyes, reach, values
from policies.arguments import ArgumentsRefused, canonical, check_schema, digest
from policies.cases import Example
from policies.engine import Compiled, RulesRefused, Verdict, compile_release
from policies.facts import AgentFacts
from policies.firewall import DETECTORS
from policies.foureyes import DRAFTED
from policies.models import Agent, Case, Release, Rule, Tool
from policies.rules import RELEASE_DOMAIN, RuleSpec, exactly, release_content
from policies.soundness import PUBLISHED, sound
from policies.tooling import NO_PARAMETERS, ToolDef
from traces import record
from traces.problems import Refused

# Any constant does, as long as every publisher takes the same.
PUBLISH_LOCK = 0x61677265


@dataclass(frozen=True)
class Active:
    """The release that decides now, ready to use. Shared between threads."""

    digest: str
    release_id: int
    compiled: Compiled
    tools: Mapping[str, ToolDef]
    groups: Mapping[str, tuple[str, ...]]
    detectors: tuple[str, ...]

    def tool(self, name: str) -> ToolDef:
        """The definition of a tool; of one that nobody declared, the worst."""
        return self.tools.get(name) or ToolDef.undeclared(name)

    def rule_texts(self, verdict: Verdict) -> dict[str, str]:
        """Each rule that a verdict names, read aloud with its condition as it is written."""
        by_name = {rule.name: rule for rule in self.compiled.rules}
        named = {match.name for match in (*verdict.matched, *verdict.shadow)} & by_name.keys()
        return {name: exactly(by_name[name]) for name in sorted(named)}


def current() -> Active:
    """The newest release; before the first one, an empty one, which blocks everything.

    One small query; the release itself is read and compiled once a process. Raises Refused("unavailable")
    where the stored release was altered or does not compile.
    """
    newest = Release.objects.order_by("-id").values_list("id", "digest").first()
    return _load(*newest) if newest else _nothing()


def draft_content() -> dict[str, Any]:
    """What publishing would freeze now: every rule and tool, the approver groups, the detectors.

    Of the groups their names alone: who belongs to them changes with people and acts at once.
    """
    rules = [spec(rule) for rule in Rule.objects.all()]
    tools = [values.normalise(definition(tool).to_json(), max_depth=100) for tool in Tool.objects.all()]
    groups: dict[str, list[str]] = {name: [] for rule in rules for name in asked(rule)}
    return release_content(rules=rules, tools=tools, groups=groups, detectors=DETECTORS)


def digest_of(content: Mapping[str, Any]) -> str:
    """The digest under which this content would be published."""
    return digest(RELEASE_DOMAIN, content)


def activate(content: Mapping[str, Any]) -> Active:
    """Content that nobody published, ready to try. Raises Refused("invalid") where it does not compile."""
    try:
        return _activate(content, digest=digest(RELEASE_DOMAIN, content), release_id=0)
    except RulesRefused as refused:
        listed = [vars(_rule_problem(item)) for item in refused.problems]
        raise Refused("invalid", f"The draft does not compile: {refused}", problems=listed) from None


def spec(rule: Rule) -> RuleSpec:
    """A rule's row as data. Its name is its id, so that equal rules are equal on every instance."""
    return RuleSpec(
        id=rule.name, name=rule.name, description=rule.description, effect=rule.effect,
        agents=tuple(rule.agents), tools=tuple(rule.tools), when=rule.when, approvers=rule.approvers,
        quorum=rule.quorum, expires_after=rule.expires_after, step_up=rule.step_up, fallback=rule.fallback,
        separate_duties=rule.separate_duties, escalate=escalating.steps(rule.escalate),
        egress=tuple(rule.egress) if rule.egress is not None else None,
        mode=rule.mode, enabled=rule.enabled, until=rule.until,
    )  # fmt: skip


def asked(rule: RuleSpec) -> list[str]:
    """The groups that a rule asks, at once or later."""
    first = [rule.approvers] if rule.approvers and not rule.approvers.startswith("@") else []
    return first + [step.to for step in rule.escalate]


def strays(rules: Iterable[RuleSpec]) -> list[tuple[str, str]]:
    """(rule, why) of each line of egress that no tool of its rule lists: it never lets anything out."""
    tools = [definition(tool) for tool in Tool.objects.all()]
    found = []
    for rule in (rule for rule in rules if rule.egress):
        concerned = [tool for tool in tools if engine.fits(rule.tools, tool.name)]
        found += [(rule.name, line) for line in reach.strays(rule.egress or (), concerned)]
    return [
        (name, f"nothing goes to {line}, which none of its tools lists in egress") for name, line in found
    ]


def definition(tool: Tool) -> ToolDef:
    """A tool's row as data."""
    return ToolDef(
        name=tool.name, description=tool.description, runs=tool.runs, effect=tool.effect, output=tool.output,
        untrusted_fields=tuple(tool.untrusted_fields), returns=tuple(tool.returns), sends=tool.sends,
        idempotent=tool.idempotent, authority=tuple(tool.authority), target=tool.target, summary=tool.summary,
        labels=tuple(tool.labels), parameters=tool.parameters or NO_PARAMETERS, config=tool.config,
    )  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """Why the draft cannot be published: what is at fault (`rule`, `tool`, `case`), its name, a sentence."""

    kind: str
    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.why}"


def problems(content: Mapping[str, Any]) -> list[Problem]:
    """Everything that stands in the way of publishing this content with the cases as they are now."""
    found = [Problem("tool", tool["name"], why) for tool in content["tools"] for why in _unusable(tool)]
    try:
        active = _activate(content, digest="", release_id=0)
    except RulesRefused as refused:
        return found + [_rule_problem(item) for item in refused.problems]
    failed = cases.run(_examples(), compiled=active.compiled, tools=active.tools, now=timezone.now())
    return found + [Problem("case", failure.name, failure.why) for failure in failed]


def changes(content: Mapping[str, Any]) -> list[str]:
    """How this content differs from the release that decides now, a line a difference."""
    return difference(content).lines


def difference(content: Mapping[str, Any]) -> differ.Diff:
    """The same, rule by rule and field by field."""
    return differ.compare(newest_content(), content)


def newest_content() -> dict[str, Any]:
    """The content of the release that decides now; an empty one before the first, or where it was altered."""
    newest = Release.objects.order_by("-id").first()
    try:
        if newest is not None:
            return sound(newest.pk, newest.digest)
    except Refused:
        # It blocks everything, and publishing another one must stay possible: that is the way out.
        pass
    return release_content(rules=(), tools=(), groups={})


@dataclass(frozen=True)
class BackTo:
    """What a draft goes back to: a release by number, and the failing cases that somebody put up with."""

    release: int
    despite: frozenset[str] = frozenset()


def publish(
    *,
    by: str,
    note: str = "",
    checked: Mapping[str, Any] | None = None,
    seen: str = "",
    back: BackTo | None = None,
) -> Release:
    """Freeze the draft as the release that decides from now on.

    Publishes one at a time (advisory lock). Appends `policy.published`. Content equal to the newest release
    is that release, and nothing is appended. `checked` is the draft's content where the caller has found it
    to have no `problems` in this transaction; `seen` the digest of the draft that the publisher looked at;
    with `back` the draft has been set to an earlier release. Raises Refused: conflict where the draft is not
    what was seen; invalid with `problems` where a rule does not type-check, a schema is unusable or a case
    fails; forbidden where four-eyes is on and `by` edited it.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PUBLISH_LOCK])
        content = draft_content()
        newest = Release.objects.order_by("-id").first()
        frozen = digest(RELEASE_DOMAIN, content)
        if seen and seen != frozen:
            raise Refused("conflict", "The draft has changed since you looked at it: look again.")
        if newest is not None and newest.digest == frozen:
            return newest
        if checked != content:
            _refuse_problems(problems(content), put_up_with=back.despite if back else frozenset())
        foureyes.refuse_drafter(by, since=newest.published_at if newest else None)
        return _freeze(content, frozen, by, note, back)


def _freeze(
    content: Mapping[str, Any], frozen: str, by: str, note: str, back: BackTo | None = None
) -> Release:
    said = changes(content)
    release = Release.objects.create(
        digest=frozen, content=canonical(content).decode(), published_by=by, note=note[:500]
    )
    body: dict[str, Any] = {"release": release.pk, "digest": frozen, "note": note, "changes": said}
    title, text = f"Release {release.pk} published", "\n".join([note, *said])
    if back is not None:
        body |= {"rolled_back_to": back.release, "despite": sorted(back.despite)}
        title += f", rolled back to {back.release}"
    record.append(kind=PUBLISHED, actor=by, body=body, title=title, text=text)
    return release


def drafted(*, by: str, what: str, changed: Iterable[str]) -> None:
    """Write down that somebody changed the draft. Appends `policy.drafted`; needs a transaction."""
    lines = list(changed)
    body, text = {"what": what, "changes": lines}, "\n".join(lines)
    record.append(kind=DRAFTED, actor=by, body=body, title=f"{what} changed", text=text)


def edit(*, row: Rule | Tool | Case, values: Mapping[str, Any], by: str) -> None:
    """Change fields of one draft row. Appends `policy.drafted`."""
    with transaction.atomic():
        for name, value in values.items():
            setattr(row, name, value)
        row.save(update_fields=list(values))
        what = f"{row._meta.verbose_name} {row.name}"
        drafted(by=by, what=what.capitalize(), changed=[f"{what}: {', '.join(values)} changed"])


def _refuse_problems(found: list[Problem], *, put_up_with: frozenset[str]) -> None:
    left = [item for item in found if item.kind != "case" or item.name not in put_up_with]
    if left:
        listed = [vars(problem) for problem in left]
        raise Refused("invalid", "; ".join(str(problem) for problem in left), problems=listed)


def _rule_problem(item: Any) -> Problem:
    place = f" (line {item.line}, column {item.column})" if item.line > 0 else ""
    return Problem("rule", item.rule, f"{item.message}{place}")


def _unusable(tool: Mapping[str, Any]) -> list[str]:
    try:
        check_schema(tool["parameters"])
    except ArgumentsRefused as refused:
        return [f"parameters{refused.path}: {refused.why}"]
    return []


def _examples() -> list[Example]:
    agents = {agent.name: agent for agent in Agent.objects.select_related("team")}
    return [_example(case, agents.get(case.agent)) for case in Case.objects.all()]


def _example(case: Case, agent: Agent | None) -> Example:
    # Standard, whatever the agent is at the moment: a case speaks of the rules, not of today's switches.
    team = agent.team.name if agent and agent.team else ""
    known = AgentFacts(
        name=case.agent or "an-agent", mode="standard", team=team, labels=tuple(agent.labels) if agent else ()
    )
    return Example(
        name=case.name, tool=case.tool, args=case.args, expect=case.expect, agent=known,
        labels=tuple(case.labels), origin=case.origin, session=case.session, or_stricter=case.or_stricter,
    )  # fmt: skip


@lru_cache(maxsize=8)
def _load(release_id: int, frozen: str) -> Active:
    content = sound(release_id, frozen)
    try:
        return _activate(content, digest=frozen, release_id=release_id)
    except RulesRefused as refused:
        raise Refused("unavailable", f"Release {release_id} does not compile: {refused}") from None


@lru_cache(maxsize=1)
def _nothing() -> Active:
    content = release_content(rules=(), tools=(), groups={}, detectors=DETECTORS)
    return _activate(content, digest=digest(RELEASE_DOMAIN, content), release_id=0)


def _activate(content: Mapping[str, Any], *, digest: str, release_id: int) -> Active:
    return Active(
        digest=digest,
        release_id=release_id,
        compiled=compile_release([RuleSpec.from_json(rule) for rule in content["rules"]], digest=digest),
        tools={tool["name"]: ToolDef.from_json(tool) for tool in content["tools"]},
        groups={name: tuple(members) for name, members in content["groups"].items()},
        detectors=tuple(content["detectors"]),
    )
