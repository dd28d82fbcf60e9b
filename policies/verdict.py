"""What a decision says: the effect, every reason, and whose approval it needs. Plain data, stored as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from policies import escalating
from policies.escalating import Step

# How a match names the allowance for a while that answered what was asked.
ALLOWANCE = "allowance:"


@dataclass(frozen=True)
class Match:
    """A rule that applies. `error` is what its condition failed with, "" if it did not."""

    rule_id: str
    name: str
    effect: str
    why: str
    error: str = ""


@dataclass(frozen=True)
class Considered:
    """A rule for this tool and agent, and what came of it: matched, no match, error, ended, not needed."""

    rule_id: str
    name: str
    effect: str
    outcome: str
    why: str = ""


@dataclass(frozen=True)
class Approval:
    """`quorum` people of `group` (or "@user") must approve within `expires_after` seconds.

    `rule` names the rules that ask for it. With `separate_duties` one of them has no stake in the call;
    `escalate` says whose members may answer for the group too, and after how long.
    """

    group: str
    quorum: int
    rule: str
    expires_after: int
    step_up: bool = False
    separate_duties: bool = False
    escalate: tuple[Step, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON values; what is not wished for is left out."""
        wished = {"separate_duties": self.separate_duties, "escalate": escalating.plain(self.escalate)}
        told = {name: value for name, value in wished.items() if value}
        return {
            "group": self.group, "quorum": self.quorum, "rule": self.rule,
            "expires_after": self.expires_after, "step_up": self.step_up, **told,
        }  # fmt: skip

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Approval:
        """Raises KeyError or TypeError for anything that `to_json` did not write."""
        return cls(**{**stored, "escalate": escalating.steps(stored.get("escalate", ()))})


@dataclass(frozen=True)
class Verdict:
    """allow, ask or block, with every reason.

    `matched` are the live rules that applied, `shadow` those that would have; `considered` is every rule
    for this tool and agent; `release` the digest that decided; `micros` the time it took. `egress` are the
    lines beyond which the rules let the run reach nothing, None where they leave that to the tool.
    """

    effect: str
    reasons: tuple[str, ...]
    matched: tuple[Match, ...] = ()
    approvals: tuple[Approval, ...] = ()
    shadow: tuple[Match, ...] = ()
    egress: tuple[str, ...] | None = None
    considered: tuple[Considered, ...] = ()
    release: str = ""
    micros: int = 0

    def to_json(self) -> dict[str, Any]:
        """JSON values; `from_json` gives an equal verdict back."""
        plain = asdict(self)
        told = {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}
        if self.egress is None:
            del told["egress"]
        return told | {"approvals": [item.to_json() for item in self.approvals]}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Verdict:
        """Raises KeyError or TypeError for anything that `to_json` did not write."""
        return cls(
            effect=stored["effect"],
            reasons=tuple(stored["reasons"]),
            matched=tuple(Match(**item) for item in stored["matched"]),
            approvals=tuple(map(Approval.from_json, stored["approvals"])),
            shadow=tuple(Match(**item) for item in stored["shadow"]),
            considered=tuple(Considered(**item) for item in stored["considered"]),
            release=stored["release"],
            micros=stored["micros"],
            egress=lines(stored),
        )


def lines(stored: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The `egress` of a stored verdict."""
    return tuple(stored["egress"]) if stored.get("egress") is not None else None


def spared(verdict: Verdict, *, allowance: str, why: str) -> Verdict:
    """The verdict with everything it asks answered by an allowance; what asked and who, stays in it."""
    match = Match(f"{ALLOWANCE}{allowance}", "for a while", "allow", why)
    return replace(verdict, effect="allow", reasons=(why,), matched=(*verdict.matched, match))


def unspared(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored verdict as the rules alone gave it, whether or not an allowance answered what they ask."""
    rules = [match for match in stored["matched"] if not match["rule_id"].startswith(ALLOWANCE)]
    if len(rules) == len(stored["matched"]):
        return dict(stored)
    asked = [match["why"] for match in rules if match["effect"] == "ask"]
    return {**stored, "effect": "ask", "reasons": asked, "matched": rules}


def sparing(stored: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The match of the allowance that answered a stored verdict, if one did."""
    return next((match for match in stored["matched"] if match["rule_id"].startswith(ALLOWANCE)), None)
