"""Which way a change of a rule or a tool leans. Sound rather than sharp: in doubt, `either`.

Blocks win over asks, asks over allows, and fallbacks speak only where nothing else truly matched, so a new
block can only stop more and a new allow can only let more pass. A new ask can do both: where nothing allowed
a call, it was blocked, and is now a question. A failing condition makes an ask or a block match and an allow
not, which is why an allow that becomes an ask is stricter only where it has no condition that could fail.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from policies.rules import RuleSpec


class Lean(StrEnum):
    """In the order in which a reader should look at them."""

    LOOSER = "looser"
    EITHER = "either"
    STRICTER = "stricter"
    SAME = "same"


LOOSER, EITHER, STRICTER, SAME = Lean
_OPPOSITE = {LOOSER: STRICTER, STRICTER: LOOSER, EITHER: EITHER, SAME: SAME}
# What happens where a rule applies to more calls than before.
_MORE = {"allow": LOOSER, "block": STRICTER, "ask": EITHER}
_WORDS = frozenset({"id", "name", "description"})
_ASKING = frozenset({"approvers", "quorum", "expires_after", "step_up", "separate_duties", "escalate"})
_SEVERITY = {
    "effect": ("read", "write", "destructive"),
    "sends": ("none", "internal", "external"),
    "output": ("trusted", "untrusted"),
}
_WARNINGS = frozenset({"returns", "untrusted_fields", "authority"})
_NEVER = datetime.max.replace(tzinfo=UTC)


def joined(leans: Iterable[Lean]) -> Lean:
    """Several changes at once: one way if all go that way."""
    found = set(leans) - {SAME}
    return SAME if not found else found.pop() if len(found) == 1 else EITHER


def rule_gone(was: RuleSpec | None, now: RuleSpec | None) -> Lean | None:
    """How a rule leans that comes, goes, is switched on or off; None where it holds before and after."""
    held, holds = _holds(was), _holds(now)
    if held and holds:
        return None
    if held == holds:
        return SAME
    rule = now if holds else was
    more = _MORE.get(rule.effect, EITHER) if rule else EITHER
    return _unbound(more if holds else _OPPOSITE[more], rule)


def rule_field(name: str, was: RuleSpec, now: RuleSpec) -> Lean:
    """How the change of one field of a rule leans; of one that comes or goes, what makes it do so."""
    gone = rule_gone(was, now)
    if gone is not None:
        return gone if name in ("enabled", "mode") else SAME
    if name in _WORDS:
        return SAME
    if name == "effect":
        return _effect(was, now)
    if name in _ASKING:
        # Who is asked matters while somebody is; where the effect changes too, that says it all.
        return _asking(name, was, now) if was.effect == now.effect == "ask" else SAME
    if name == "egress":
        return _egress(was.egress, now.egress) if now.effect != "block" else SAME
    return _unbound(_scope(name, was, now), was, now)


def tool_field(name: str, old: Any, new: Any) -> Lean:
    """How the change of one field of a tool leans; a condition may ask for any of them, hence `either`."""
    if name in ("description", "summary"):
        return SAME
    if name in _SEVERITY and {old, new} <= set(_SEVERITY[name]):
        places = _SEVERITY[name]
        return LOOSER if places.index(new) < places.index(old) else EITHER
    if name in _WARNINGS and isinstance(old, list) and isinstance(new, list):
        return LOOSER if set(new) < set(old) else EITHER
    if name == "idempotent":
        return LOOSER if new else STRICTER
    return EITHER


def _holds(rule: RuleSpec | None) -> bool:
    return rule is not None and rule.enabled and rule.mode == "live"


def _effect(was: RuleSpec, now: RuleSpec) -> Lean:
    if (was.effect, now.effect) == ("allow", "ask"):
        # A tool that nobody declared is under an ask by pattern, and never under an allow.
        sure = not was.when.strip() and was.tools and _exact(was.tools) == set(was.tools)
        return STRICTER if sure else EITHER
    if (was.effect, now.effect) in (("ask", "block"), ("allow", "block")):
        return STRICTER
    return LOOSER


def _asking(name: str, was: RuleSpec, now: RuleSpec) -> Lean:
    if name == "approvers":
        return SAME if was.approvers.strip() == now.approvers.strip() else EITHER
    if name == "expires_after":
        return STRICTER if now.expires_after < was.expires_after else LOOSER
    if name == "escalate":
        return _escalating({step.to: step.after for step in was.escalate}, now)
    return STRICTER if getattr(now, name) > getattr(was, name) else LOOSER


def _escalating(was: Mapping[str, int], now: RuleSpec) -> Lean:
    """Each step lets more people decide: fewer or later ones are stricter."""
    will = {step.to: step.after for step in now.escalate}
    later = all(group in was and after >= was[group] for group, after in will.items())
    sooner = all(group in will and will[group] <= after for group, after in was.items())
    return STRICTER if later else LOOSER if sooner else EITHER


def _scope(name: str, was: RuleSpec, now: RuleSpec) -> Lean:
    """A change of what the rule applies to, under the effect that it has now."""
    more = _MORE.get(now.effect, EITHER)
    if name == "fallback":
        return _OPPOSITE[more] if now.fallback else more
    if name == "until":
        return more if (now.until or _NEVER) > (was.until or _NEVER) else _OPPOSITE[more]
    if name == "when":
        return _condition(was.when.strip(), now.when.strip(), more)
    if name in ("agents", "tools"):
        return _globs(name, getattr(was, name), getattr(now, name), more)
    return EITHER


def _unbound(lean: Lean, *rules: RuleSpec | None) -> Lean:
    """A rule that bounds what runs reach bounds less where it applies to less: never simply stricter."""
    bounding = any(rule is not None and rule.egress is not None for rule in rules)
    return EITHER if bounding and lean == STRICTER else lean


def _egress(was: Collection[str] | None, now: Collection[str] | None) -> Lean:
    if was is None or now is None:
        return STRICTER if was is None else LOOSER
    before, after = set(was), set(now)
    return SAME if before == after else STRICTER if after < before else LOOSER if before < after else EITHER


def _condition(was: str, now: str, more: Lean) -> Lean:
    if was == now:
        return SAME
    if not now:
        return more
    return _OPPOSITE[more] if not was else EITHER


def _globs(name: str, was: Collection[str], now: Collection[str], more: Lean) -> Lean:
    if (_any(now) and _any(was)) or set(was) == set(now):
        lean = SAME
    elif _any(now) or (not _any(was) and set(was) <= set(now)):
        lean = more
    elif _any(was) or set(now) <= set(was):
        lean = _OPPOSITE[more]
    else:
        lean = EITHER
    # An allow that names a tool allows it even undeclared, which no pattern does.
    named = name == "tools" and more == LOOSER and _exact(now) - _exact(was)
    return (LOOSER if lean == SAME else joined((lean, LOOSER))) if named else lean


def _any(globs: Collection[str]) -> bool:
    return not globs or "*" in globs


def _exact(globs: Iterable[str]) -> set[str]:
    return {glob for glob in globs if not {"*", "?"} & set(glob)}
