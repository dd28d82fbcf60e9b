"""What becomes of a call once the conditions spoke: block wins, then every ask, then allow, else block."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from policies import escalating, reach
from policies.facts import Facts
from policies.rules import RuleSpec, sentence
from policies.together import Answer
from policies.verdict import Approval, Considered, Match, Verdict


@dataclass(frozen=True, slots=True)
class Speaker:
    """A rule, and what verdicts say of it: written down once, since frozen dataclasses are slow to make."""

    spec: RuleSpec
    until: datetime | None
    match: Match
    matched: Considered
    unmatched: Considered

    @classmethod
    def of(cls, rule: RuleSpec) -> Speaker:
        """Everything there is to say of a rule, but for errors."""
        return cls(
            spec=rule,
            until=rule.until,
            match=Match(rule.id, rule.name, rule.effect, _why(rule, "")),
            matched=Considered(rule.id, rule.name, rule.effect, "matched"),
            unmatched=Considered(rule.id, rule.name, rule.effect, "no match"),
        )


@dataclass(slots=True)
class Outcome:
    """What the rules that were asked so far have said."""

    matched: list[tuple[RuleSpec, Match]] = field(default_factory=list)
    shadow: list[Match] = field(default_factory=list)
    considered: list[Considered] = field(default_factory=list)
    bounds: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def settled(self) -> bool:
        """Whether a live rule that is no fallback has truly matched: then no fallback is asked.

        One that matches only because its condition failed settles nothing: it might not have matched, and
        then the fallback, which may be stricter, would have spoken.
        """
        return any(not rule.fallback and not match.error for rule, match in self.matched)

    def pass_over(self, rules: Iterable[Speaker]) -> None:
        self.considered += [replace(rule.unmatched, outcome="not needed") for rule in rules]

    def hear(self, rules: Sequence[Speaker], answers: Sequence[Answer], now: datetime) -> None:
        """Take in what the conditions say. Anything but true and false is an error."""
        for rule, answer in zip(rules, answers, strict=True):
            if rule.until is not None and now >= rule.until:
                self.considered.append(replace(rule.unmatched, outcome="ended"))
            elif answer is False:
                self.considered.append(rule.unmatched)
            elif answer is True:
                self.considered.append(rule.matched)
                self._apply(rule.spec, rule.match)
            else:
                self._fail(rule, answer or "was not answered")

    def _fail(self, rule: Speaker, error: str) -> None:
        self.considered.append(replace(rule.unmatched, outcome="error", why=error))
        if rule.spec.effect == "allow":
            # It might have applied: what it allows is left out, what it takes away is not.
            self._bound(rule.spec)
        else:
            self._apply(rule.spec, replace(rule.match, why=_why(rule.spec, error), error=error))

    def _apply(self, rule: RuleSpec, match: Match) -> None:
        if rule.mode == "live":
            self.matched.append((rule, match))
            self._bound(rule)
        else:
            self.shadow.append(match)

    def _bound(self, rule: RuleSpec) -> None:
        if rule.mode == "live" and rule.egress is not None:
            self.bounds.append(rule.egress)

    def verdict(self, facts: Facts, *, release: str, micros: int) -> Verdict:
        effects = {rule.effect for rule, _ in self.matched}
        effect = next((name for name in ("block", "ask", "allow") if name in effects), "block")
        egress, unclear = self._egress()
        if unclear:
            effect = "block"
        reasons = [unclear] if unclear else []
        reasons += [match.why for rule, match in self.matched if rule.effect == effect]
        asking = [rule for rule, _ in self.matched if rule.effect == "ask"] if effect == "ask" else []
        return Verdict(
            effect=effect,
            reasons=tuple(reasons) or (_default_reason(facts),),
            matched=tuple([match for _, match in self.matched]),
            approvals=_approvals(asking),
            shadow=tuple(self.shadow),
            considered=tuple(self.considered),
            release=release,
            micros=micros,
            egress=egress,
        )

    def _egress(self) -> tuple[tuple[str, ...] | None, str]:
        """What all rules that bound it leave, and why that cannot be worked out, if it cannot."""
        if not self.bounds:
            return None, ""
        try:
            return reach.joined(self.bounds), ""
        except ValueError as error:
            return (), f"what it may reach cannot be worked out: {error}"


def _approvals(rules: Iterable[RuleSpec]) -> tuple[Approval, ...]:
    """Each group's strictest wish: its largest quorum, its shortest time, step-up and separate duties if any
    rule wants them, and other groups only as all its rules let them in.
    """
    by_group: dict[str, list[RuleSpec]] = {}
    for rule in rules:
        by_group.setdefault(rule.approvers.strip(), []).append(rule)
    return tuple(_strictest(group, wishes) for group, wishes in sorted(by_group.items()))


def _strictest(group: str, wishes: Sequence[RuleSpec]) -> Approval:
    waited = min(rule.expires_after for rule in wishes)
    return Approval(
        group=group,
        quorum=max(rule.quorum for rule in wishes),
        rule=", ".join(rule.name for rule in wishes),
        expires_after=waited,
        step_up=any(rule.step_up for rule in wishes),
        separate_duties=any(rule.separate_duties for rule in wishes),
        escalate=escalating.joined([rule.escalate for rule in wishes], expires_after=waited),
    )


def _why(rule: RuleSpec, error: str) -> str:
    said = f"{rule.name}: {rule.description or sentence(rule)}"
    return f"{said} (its condition failed, which counts as a match: {error})" if error else said


def _default_reason(facts: Facts) -> str:
    tool = facts.tool.name if facts.tool.declared else f"{facts.tool.name}, a tool that nobody declared"
    return f"no rule allows {facts.agent.name} to call {tool}"
