"""Backtest: what other rules would have said of calls that were really made.

Pure: stored facts and verdicts in, counts out. Verdicts store the facts they saw, so judging them again is
exact. Two things are taken as they were: what is built in and no rule may loosen (the agent's mode then, the
firewall), and the origin of each argument. The definition of a tool is the draft's, so that a changed label
or effect shows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from policies import facts
from policies.engine import Compiled
from policies.facts import Facts, ToolFacts
from policies.rulings import ruling
from policies.tooling import ToolDef
from policies.verdict import Verdict, lines, unspared

EXAMPLES = 5
MOST_RULES = 50  # named in one group; the rest counts as OTHERS
OTHERS = "…"
NOBODY = "no rule"
OTHER_PEOPLE = "ask others"
# The same effect and people, and the run may reach something else.
OTHER_EGRESS = "other egress"
STRICTNESS = {"allow": 0, "ask": 1, OTHER_PEOPLE: 1, OTHER_EGRESS: 1, "block": 2}
_BUILT_IN = "built-in:"
# What `Verdict.to_json` writes after all that a backtest reads; within a text its quotes would be escaped.
REST = ', "considered": '


@dataclass(frozen=True)
class Past:
    """One call as it was judged: the JSON of its facts and of its verdict, and whether people rejected it.

    `untouched`: nothing that decides about it differs in the draft (`untouched.Untouched`), so the same comes
    out, and its facts need not be read.
    """

    action: str
    facts: str
    verdict: str
    rejected: bool = False
    untouched: bool = False


@dataclass(frozen=True)
class Rejudged:
    """What was said of a call and what the draft says: each an effect and the rules that decided it."""

    before: str
    after: str
    then: tuple[str, ...]
    now: tuple[str, ...]


@dataclass
class Group:
    """Calls that change alike: how many, by which rules then and now, and the first few by id."""

    count: int = 0
    then: Counter[str] = field(default_factory=Counter)
    now: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, action: str, change: Rejudged) -> None:
        self.count += 1
        _count(self.then, change.then)
        _count(self.now, change.now)
        if len(self.examples) < EXAMPLES:
            self.examples.append(action)

    @property
    def rules_then(self) -> list[tuple[str, int]]:
        return self.then.most_common()

    @property
    def rules_now(self) -> list[tuple[str, int]]:
        return self.now.most_common()


@dataclass(frozen=True)
class Change:
    """A group with what it changes from and to; `rejected` are the calls that people said no to."""

    before: str
    after: str
    rejected: bool
    group: Group

    @property
    def looser(self) -> bool:
        """Whether the draft would ask or refuse less here."""
        return STRICTNESS[self.after] < STRICTNESS[self.before]


@dataclass
class Difference:
    """What a draft would have changed so far. Grows by `add`; `to_json` lets it be kept between steps."""

    judged: int = 0
    same: int = 0
    unread: int = 0
    unread_examples: list[str] = field(default_factory=list)
    groups: dict[tuple[str, str, bool], Group] = field(default_factory=dict)

    def add(self, past: Past, found: Rejudged | None) -> None:
        """Count one call; None is one whose facts could not be read."""
        self.judged += 1
        if found is None:
            self.unread += 1
            self.unread_examples = [*self.unread_examples, past.action][:EXAMPLES]
        elif found.before == found.after:
            self.same += 1
        else:
            key = (found.before, found.after, past.rejected)
            self.groups.setdefault(key, Group()).add(past.action, found)

    def pass_over(self) -> None:
        """Count one call that the draft does not touch."""
        self.judged += 1
        self.same += 1

    @property
    def changed(self) -> int:
        return sum(group.count for group in self.groups.values())

    def changes(self, *, rejected: bool) -> list[Change]:
        """The groups, looser ones first, then the largest: of calls that people rejected, or of others."""
        found = [Change(*key, group) for key, group in self.groups.items() if key[2] is rejected]
        return sorted(found, key=lambda change: (not change.looser, -change.group.count, change.before))

    def to_json(self) -> dict[str, Any]:
        """JSON values; `from_json` gives an equal difference back."""
        groups = [[*key, vars(group)] for key, group in self.groups.items()]
        return {**vars(self), "groups": groups}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Difference:
        """Raises KeyError, TypeError or ValueError for anything that `to_json` did not write."""
        groups = {
            (before, after, rejected): Group(
                count=kept["count"],
                then=Counter(kept["then"]),
                now=Counter(kept["now"]),
                examples=list(kept["examples"]),
            )
            for before, after, rejected, kept in stored["groups"]
        }
        return cls(**{**stored, "groups": groups})


def judge(
    calls: Iterable[Past], *, compiled: Compiled, tools: Mapping[str, ToolDef], into: Difference
) -> Difference:
    """Judge each call again by the draft's rules and tool definitions, and count it in `into`."""
    declared: dict[str, ToolFacts] = {}
    for call in calls:
        if call.untouched:
            into.pass_over()
        else:
            into.add(call, _rejudged(call, compiled, tools, declared))
    return into


def _rejudged(
    call: Past, compiled: Compiled, tools: Mapping[str, ToolDef], declared: dict[str, ToolFacts]
) -> Rejudged | None:
    """None where what is stored cannot be read: that is said, not taken for no change."""
    try:
        was, built_in = _stored(*call.verdict.partition(REST)[:2])
        seen = _seen(json.loads(call.facts), tools, declared)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    will = built_in or _Ruling.of(ruling(seen, compiled))
    return Rejudged(was.effect, _after(was, will), was.rules, will.rules)


def _after(was: _Ruling, will: _Ruling) -> str:
    if was.effect != will.effect:
        return will.effect
    if was.asked != will.asked:
        return OTHER_PEOPLE
    return OTHER_EGRESS if was.egress != will.egress and will.effect != "block" else will.effect


def _seen(stored: Mapping[str, Any], tools: Mapping[str, ToolDef], declared: dict[str, ToolFacts]) -> Facts:
    """The facts of then, with the tool as the draft declares it."""
    seen = Facts.from_json(stored)
    name = seen.tool.name
    tool = declared.get(name)
    if tool is None:
        tool = declared[name] = (tools.get(name) or ToolDef.undeclared(name)).facts()
    if tool == seen.tool:
        return seen
    return facts.build(
        args=seen.args, tool=tool, agent=seen.agent, session=seen.session, origin=seen.origin,
        findings=seen.findings, usage=seen.usage, now=seen.now, copied=seen.copied,
    )  # fmt: skip


@dataclass(frozen=True)
class _Ruling:
    """An effect, the rules that gave it, whom they ask (group, quorum, step-up, separate duties), and the
    lines that they let the run reach.
    """

    effect: str
    rules: tuple[str, ...]
    asked: frozenset[tuple[str, int, bool, bool]]
    egress: frozenset[str] | None = None

    @classmethod
    def of(cls, verdict: Verdict) -> _Ruling:
        rules = [match.name for match in verdict.matched if match.effect == verdict.effect]
        asked = (_asked(wish.to_json()) for wish in verdict.approvals)
        return cls(verdict.effect, tuple(rules) or (NOBODY,), frozenset(asked), _set(verdict.egress))

    @classmethod
    def of_stored(cls, verdict: Mapping[str, Any]) -> _Ruling:
        effect = verdict["effect"]
        if effect not in STRICTNESS:
            raise ValueError(f"{effect!r} is no effect")
        asked = (_asked(wish) for wish in verdict["approvals"])
        return cls(effect, tuple(_names(verdict)) or (NOBODY,), frozenset(asked), _set(lines(verdict)))


def _set(egress: tuple[str, ...] | None) -> frozenset[str] | None:
    return None if egress is None else frozenset(egress)


def _asked(wish: Mapping[str, Any]) -> tuple[str, int, bool, bool]:
    return wish["group"], wish["quorum"], wish["step_up"], bool(wish.get("separate_duties"))


@lru_cache(maxsize=2048)
def _stored(head: str, rest: str) -> tuple[_Ruling, _Ruling | None]:
    """What was said of a call, and what is built in of it: that stands whatever rules say.

    Thousands of calls are told the same, so what they were told is read once.
    """
    verdict = unspared(json.loads(head + "}" if rest else head))
    built_in = tuple(name for name in _names(verdict) if name.startswith(_BUILT_IN))
    standing = _Ruling("block", built_in, frozenset()) if built_in else None
    return _Ruling.of_stored(verdict), standing


def _names(verdict: Mapping[str, Any]) -> Iterator[str]:
    """The rules that gave a stored verdict its effect; what is built in is marked as such."""
    for match in verdict["matched"]:
        if match["effect"] == verdict["effect"]:
            yield match["rule_id"] if match["rule_id"].startswith(_BUILT_IN) else match["name"]


def _count(counter: Counter[str], names: Iterable[str]) -> None:
    for name in names:
        counter[name if name in counter or len(counter) < MOST_RULES else OTHERS] += 1
