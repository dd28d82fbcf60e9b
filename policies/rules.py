"""A rule as data: what stands in a release, and how it is read aloud."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from policies import escalating, reach
from policies.arguments import digest
from policies.escalating import Step
from policies.rowwords import aloud

RELEASE_DOMAIN = b"agentsec/release/v1\n"
EFFECTS = ("allow", "ask", "block")
MODES = ("live", "shadow")
MAX_QUORUM = 20
MAX_EXPIRY = 30 * 24 * 3600

_LATER = frozenset({"separate_duties", "escalate", "egress"})
_UNITS = ((86400, "day"), (3600, "hour"), (60, "min"), (1, "s"))


@dataclass(frozen=True)
class RuleSpec:
    """One rule. `agents` and `tools` are globs (`*`, `?`), none meaning any; `when` is CEL, empty for always.

    `approvers` is a group or `@user` (the person the session serves); `expires_after` in seconds; `until`
    (aware) is when the rule ends by itself; `mode` is live or shadow: judged and recorded, never obeyed.
    A `fallback` is the last word of a set: it is considered only where no other live rule matches, so that
    "ask about everything else" leaves room for every allow. With `separate_duties` those who own the agent or
    started the session are never the only ones who approve; `escalate` says whom else it asks, and when.
    Where it applies, `egress` bounds what the run may reach within its tool's own lines: None does not bound
    it, an empty one leaves nothing.
    """

    id: str
    name: str
    effect: str
    description: str = ""
    agents: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    when: str = ""
    approvers: str = ""
    quorum: int = 1
    expires_after: int = 900
    step_up: bool = False
    separate_duties: bool = False
    escalate: tuple[Step, ...] = ()
    egress: tuple[str, ...] | None = None
    fallback: bool = False
    mode: str = "live"
    enabled: bool = True
    until: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON values; `from_json` gives an equal rule back."""
        plain = asdict(self) | {"agents": list(self.agents), "tools": list(self.tools)}
        plain["until"] = self.until.astimezone(UTC).isoformat() if self.until else None
        plain["escalate"] = escalating.plain(self.escalate)
        plain["egress"] = list(self.egress) if self.egress is not None else None
        # A release that was frozen before there were these keeps its digest, as long as no rule uses them.
        absent = {name for name in _LATER if not plain[name]} - (
            {"egress"} if self.egress is not None else set()
        )
        return {name: value for name, value in plain.items() if name not in absent}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> RuleSpec:
        """Raises KeyError, TypeError or ValueError for anything that `to_json` did not write."""
        until = datetime.fromisoformat(stored["until"]) if stored["until"] else None
        lists = {"agents": tuple(stored["agents"]), "tools": tuple(stored["tools"]), "until": until}
        lists["escalate"] = escalating.steps(stored.get("escalate", ()))
        lists["egress"] = tuple(stored["egress"]) if stored.get("egress") is not None else None
        return cls(**(dict(stored) | lists))


def problems_of(rule: RuleSpec) -> list[str]:
    """What is wrong with a rule apart from its condition, each as one sentence; empty if nothing."""
    found = []
    if rule.effect not in EFFECTS:
        found.append(f"the effect is one of {', '.join(EFFECTS)}, not {rule.effect!r}")
    if rule.mode not in MODES:
        found.append(f"the mode is one of {', '.join(MODES)}, not {rule.mode!r}")
    if rule.effect == "ask" and not rule.approvers.strip():
        found.append("a rule that asks names its approvers")
    if not 1 <= rule.quorum <= MAX_QUORUM:
        found.append(f"the quorum is 1 to {MAX_QUORUM}")
    if rule.approvers == "@user" and rule.quorum != 1:
        found.append("@user is one person, so the quorum is 1")
    if rule.approvers == "@user" and rule.step_up:
        found.append("@user gives their word without a passkey, so it cannot want step-up")
    if not 1 <= rule.expires_after <= MAX_EXPIRY:
        found.append(f"approval is waited for 1 to {MAX_EXPIRY} seconds")
    if rule.separate_duties and rule.approvers == "@user":
        found.append("@user is whoever the session serves, so their duties cannot be separated")
    found += escalating.problems(
        rule.escalate, approvers=rule.approvers.strip(), expires_after=rule.expires_after
    )
    found += reach.problems(rule.egress, effect=rule.effect) if rule.egress is not None else []
    if rule.until is not None and rule.until.tzinfo is None:
        found.append("until must carry its time zone")
    return found


def release_content(
    *,
    rules: Iterable[RuleSpec],
    tools: Iterable[Mapping[str, Any]],
    groups: Mapping[str, Iterable[str]],
    detectors: Iterable[str] = (),
) -> dict[str, Any]:
    """What a release freezes, as JSON values in one order: that of the input does not matter.

    `tools` are definitions with a `name`; `groups` maps each approver group to its members.
    """
    return {
        "rules": [rule.to_json() for rule in sorted(rules, key=lambda rule: (rule.name, rule.id))],
        "tools": sorted((dict(tool) for tool in tools), key=lambda tool: str(tool["name"])),
        "groups": {name: sorted(set(members)) for name, members in groups.items()},
        "detectors": sorted(set(detectors)),
    }


def release_digest(
    rules: Iterable[RuleSpec],
    tools: Iterable[Mapping[str, Any]] = (),
    groups: Mapping[str, Iterable[str]] | None = None,
    detectors: Iterable[str] = (),
) -> str:
    """SHA-256(RELEASE_DOMAIN ‖ JCS(release_content(…))), 64 lower-case hex digits."""
    content = release_content(rules=rules, tools=tools, groups=groups or {}, detectors=detectors)
    return digest(RELEASE_DOMAIN, content)


def sentence(rule: RuleSpec) -> str:
    """The rule read aloud: ask comms (1 of them, within 15 min) when any agent calls email.send.

    A condition that rows can show is said in words, any other as CEL.
    """
    return _aloud(rule, aloud(rule.when))


def exactly(rule: RuleSpec) -> str:
    """The same with the condition as it is written: what the log keeps, since words are a translation."""
    return _aloud(rule, rule.when)


def _aloud(rule: RuleSpec, condition: str) -> str:
    parts = [f"{rule.effect}{_whom(rule)} when {_names(rule.agents, 'any agent')} calls"]
    parts.append(_names(rule.tools, "any tool"))
    if rule.when.strip():
        parts.append(f"and {condition}")
    if rule.fallback:
        parts.append("and no other rule applies")
    parts += [_reaching(rule.egress)] if rule.egress is not None else []
    if rule.until:
        parts.append(f"(until {rule.until.astimezone(UTC):%Y-%m-%d %H:%M} UTC)")
    return " ".join(parts)


def _whom(rule: RuleSpec) -> str:
    if rule.effect != "ask":
        return ""
    within = f"within {duration(rule.expires_after)}" + (", with step-up" if rule.step_up else "")
    if rule.approvers == "@user":
        return f" the person it serves ({within})"
    return f" {rule.approvers} ({rule.quorum} of them, {within}{_apart(rule)}{_later(rule)})"


def _apart(rule: RuleSpec) -> str:
    whom = ", not only the agent's owner or whoever started its session"
    return whom if rule.separate_duties else ""


def _later(rule: RuleSpec) -> str:
    return "".join(f"; after {duration(step.after)} also {step.to}" for step in rule.escalate)


def _reaching(lines: Sequence[str]) -> str:
    return f"and let it reach only {' or '.join(lines)}" if lines else "and let it reach nothing"


def _names(globs: Sequence[str], anything: str) -> str:
    return anything if not globs or "*" in globs else " or ".join(globs)


def duration(seconds: int) -> str:
    """Seconds in the largest unit that divides them: 900 is "15 min"."""
    size, unit = next(pair for pair in _UNITS if seconds % pair[0] == 0)
    count = seconds // size
    return f"{count} {unit}" + ("s" if count != 1 and unit in ("day", "hour") else "")
