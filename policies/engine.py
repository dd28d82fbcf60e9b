"""decide(facts, compiled) → Verdict. The only module that knows CEL.

Combination: any block wins; else every matching ask together; else allow; else block, because nobody said
yes. Rules marked as fallback combine the same way, and only where no other live rule matches.

Errors fail closed: an allow whose condition errs does not match, an ask or a block whose condition errs does,
and says so. The binding makes that easy to get wrong: a failed evaluation returns a truthy text of type
ERROR, an exhausted iteration budget raises RuntimeError, and a condition on untyped arguments may yield
"false". So only a value of type BOOL that is True is a match, False is none, and all else is an error.

Language: https://github.com/google/cel-spec
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache, partial
from typing import Any

import re2
from cel_expr_python import cel

from policies import facts as vocabulary
from policies import hoisting
from policies.celtext import tokens
from policies.facts import Facts
from policies.outcome import Outcome, Speaker
from policies.rules import RuleSpec, problems_of, release_content, release_digest, sentence
from policies.together import Condition, Evaluator, Questions, Room
from policies.verdict import Approval, Considered, Match, Verdict

__all__ = [
    "Approval",
    "Compiled",
    "Considered",
    "Match",
    "Problem",
    "RuleSpec",
    "RulesRefused",
    "Verdict",
    "check_condition",
    "compile_release",
    "decide",
    "release_content",
    "release_digest",
    "sentence",
]

MAX_CONDITION = 10_000
UNREADABLE = (RuntimeError, ValueError, TypeError)
_CACHED_CALLS = 4096
# About 16 kB of memory each.
_JOINED_CONDITIONS = 10_000
_ERROR_LINE = re.compile(r"ERROR: [^\n]*?:(-?\d+):(-?\d+): ([^\n]*)")
_TYPED_HAS = re.compile(r"\bhas\s*\(\s*(?:tool|agent|session|usage)\s*\.\s*\w+\s*\)")


@dataclass(frozen=True)
class Problem:
    """What is wrong with a condition, and where: line and column from 1, 0 where there is no place."""

    message: str
    line: int = 0
    column: int = 0
    rule: str = ""

    def __str__(self) -> str:
        place = f" (line {self.line}, column {self.column})" if self.line > 0 else ""
        return (f"rule {self.rule}: " if self.rule else "") + self.message + place


class RulesRefused(Exception):
    """The rules cannot be compiled; `problems` says of each what and where."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class _Rule:
    spec: RuleSpec
    condition: Condition | None
    tools: Any
    agents: Any

    def concerns(self, facts: Facts) -> bool:
        if not (_globbed(self.agents, facts.agent.name) and _globbed(self.tools, facts.tool.name)):
            return False
        # Nobody knows what an undeclared tool does, so a pattern that happens to fit is no permission.
        return self.spec.effect != "allow" or facts.tool.declared or facts.tool.name in self.spec.tools


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    rules: tuple[Speaker, ...]
    questions: Questions

    def ended(self, now: datetime) -> tuple[bool, ...]:
        """Of each rule that ends by itself, whether it has."""
        return tuple([now >= rule.until for rule in self.rules if rule.until is not None])


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """The rules that a call concerns: the first speakers, then the fallbacks."""

    first: _Asked
    fallbacks: _Asked

    @property
    def needs(self) -> frozenset[str]:
        return self.first.questions.needs | self.fallbacks.questions.needs


@dataclass(frozen=True)
class Compiled:
    """The rules of one release, ready to decide. Safe to share between threads."""

    release: str
    rules: tuple[RuleSpec, ...]
    _by_tool: dict[str, tuple[_Rule, ...]] = field(repr=False, compare=False)
    _by_pattern: tuple[_Rule, ...] = field(repr=False, compare=False)
    _calls: dict[tuple[str, str, bool], _Call] = field(default_factory=dict, repr=False, compare=False)
    _asked: dict[tuple[str, tuple[str, ...]], _Asked] = field(default_factory=dict, repr=False, compare=False)
    _room: Room = field(default_factory=lambda: Room(_JOINED_CONDITIONS), repr=False, compare=False)
    rulings: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def concerning(self, facts: Facts) -> _Call:
        """The rules whose globs fit this call; remembered for as many calls as are in use."""
        key = (facts.tool.name, facts.agent.name, facts.tool.declared)
        known = self._calls.get(key)
        if known is None:
            candidates = (*self._by_tool.get(facts.tool.name, ()), *self._by_pattern)
            fitting = [rule for rule in candidates if rule.concerns(facts)]
            if len(self._calls) >= _CACHED_CALLS:
                self._forget()
            known = _Call(*(self._ask(facts, fitting, fallback=fallback) for fallback in (False, True)))
            self._calls[key] = known
        return known

    def _ask(self, facts: Facts, fitting: Sequence[_Rule], *, fallback: bool) -> _Asked:
        """Agents that are under the same rules share one list, and so do all tools that nobody declared."""
        rules = tuple(rule for rule in fitting if rule.spec.fallback == fallback)
        key = (facts.tool.name if facts.tool.declared else "", tuple(rule.spec.name for rule in rules))
        known = self._asked.get(key)
        if known is None:
            questions = Questions([rule.condition for rule in rules], _EVALUATOR, self._room)
            known = self._asked[key] = _Asked(tuple(Speaker.of(rule.spec) for rule in rules), questions)
        return known

    def _forget(self) -> None:
        self._calls.clear()
        self._asked.clear()
        self.rulings.clear()
        self._room.left = _JOINED_CONDITIONS


def compile_release(rules: Sequence[RuleSpec], *, digest: str = "") -> Compiled:
    """Type-check and compile the enabled rules, once a release.

    `digest` is that of the release (by default release_digest(rules)). Raises RulesRefused with every
    problem of every rule, disabled ones included, so that none comes as a surprise when it is enabled.
    """
    problems = [problem for rule in rules for problem in _problems(rule)]
    problems += [Problem("stands twice", rule=name) for name in _twice(rule.name for rule in rules)]
    if problems:
        raise RulesRefused(problems)
    ready = [_compile_rule(rule) for rule in sorted(rules, key=lambda rule: rule.name) if rule.enabled]
    by_tool: dict[str, list[_Rule]] = {}
    by_pattern = []
    for rule in ready:
        if rule.spec.tools and not any(_is_pattern(glob) for glob in rule.spec.tools):
            for name in set(rule.spec.tools):
                by_tool.setdefault(name, []).append(rule)
        else:
            by_pattern.append(rule)
    exact = {name: tuple(found) for name, found in by_tool.items()}
    return Compiled(digest or release_digest(rules), tuple(rules), exact, tuple(by_pattern))


def check_condition(text: str) -> list[Problem]:
    """What is wrong with a condition, empty if nothing. An empty condition means always."""
    if not text.strip():
        return []
    if len(text) > MAX_CONDITION:
        return [Problem(f"is longer than {MAX_CONDITION} characters")]
    taken = tokens(text)
    # Within a text these are but words; what is not taken apart is searched as it stands.
    if _TYPED_HAS.search(str(taken) if taken else text):
        return [Problem("has() is for args and origin; the other facts are always there")]
    if any("\ud800" <= sign <= "\udfff" for sign in text):
        return [Problem("holds a lone surrogate")]
    try:
        kind = _environment().compile(text).return_type()
    except (RuntimeError, ValueError) as error:
        return _located(str(error))
    if kind not in (cel.Type.BOOL, cel.Type.DYN):
        return [Problem(f"yields {kind.name().lower()}, not true or false")]
    return []


def decide(facts: Facts, compiled: Compiled) -> Verdict:
    """Judge one call by one release. Never raises for what facts or rules hold: it blocks instead."""
    began = time.perf_counter_ns()
    outcome = Outcome()
    try:
        concerning = compiled.concerning(facts)
        activation = bind(facts, concerning.needs)
    except UNREADABLE as error:
        unread = f"the facts of this call cannot be read: {_clip(error)}"
        return Verdict("block", (unread,), release=compiled.release, micros=_micros(began))
    outcome.hear(concerning.first.rules, concerning.first.questions.answers(activation), facts.now)
    if concerning.fallbacks.rules:
        if outcome.settled:
            outcome.pass_over(concerning.fallbacks.rules)
        else:
            said = concerning.fallbacks.questions.answers(activation)
            outcome.hear(concerning.fallbacks.rules, said, facts.now)
    return outcome.verdict(facts, release=compiled.release, micros=_micros(began))


def bind(facts: Facts, needs: frozenset[str] = frozenset()) -> Any:
    """The facts as conditions read them, and the names that these need. Raises one of UNREADABLE."""
    bound = vocabulary.activation(facts)
    if needs:
        bound |= hoisting.values(facts.args, needs)
    return _environment(quick=True).Activation(bound)


def fits(globs: tuple[str, ...], name: str) -> bool:
    """Whether a name fits one of these globs, as rules read them; none of them means any."""
    return _globbed(_globs(globs), name)


def work_out(texts: Iterable[str], facts: Facts) -> Iterator[tuple[str, Any, str]]:
    """Each text with its value under these facts and "", or with None and why it has none.

    For showing what a condition saw; a text that is no expression by itself is left out. Raises one of
    UNREADABLE for facts that cannot be read.
    """
    activation = bind(facts)
    for text in texts:
        try:
            value = _piece(text).eval(activation)
            failed = value.type() == cel.Type.ERROR
            found = value.plain_value()
        except UNREADABLE:
            continue
        yield (text, None, _clip(found)) if failed else (text, found, "")


@lru_cache(maxsize=4096)
def _piece(text: str) -> Any:
    return _environment().compile(text)


def _alone(condition: Any, activation: Any) -> bool | str:
    """What one condition says: true, false or the error."""
    try:
        value = condition.eval(activation)
        result = value.value()
        # The binding makes a bool of nothing but a BOOL, so its type need not be asked for.
        if result is True or result is False:
            return bool(result)
        kind = value.type()
    except (RuntimeError, ValueError, TypeError, OverflowError) as error:
        return _clip(error) or type(error).__name__
    if kind == cel.Type.ERROR:
        return _clip(result) or "failed"
    return f"yields {kind.name().lower()}, not true or false"


def _together(conditions: Any, activation: Any) -> list[Any] | None:
    """What a list of conditions says, None if it failed: an error comes as a text, not as a list."""
    try:
        found = conditions.eval(activation).plain_value()
    except (RuntimeError, ValueError, TypeError, OverflowError):
        return None
    return found if isinstance(found, list) else None


def _problems(rule: RuleSpec) -> list[Problem]:
    found = [Problem(message, rule=rule.name) for message in problems_of(rule)]
    wrong = check_condition(rule.when)
    return found + [Problem(item.message, item.line, item.column, rule.name) for item in wrong]


def _twice(names: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    return sorted({name for name in names if name in seen or seen.add(name)})  # type: ignore[func-returns-value]


def _compile_rule(rule: RuleSpec) -> _Rule:
    return _Rule(
        rule,
        _condition(rule.when) if rule.when.strip() else None,
        _globs(tuple(rule.tools)),
        _globs(tuple(rule.agents)),
    )


def _condition(when: str) -> Condition:
    quick, needs = hoisting.hoist(when)
    if needs:
        try:
            _environment(quick=True).compile(quick)
        except (RuntimeError, ValueError):  # what people wrote still counts
            quick, needs = "", frozenset()
    return Condition(when, _environment().compile(when), quick, needs)


def _is_pattern(glob: str) -> bool:
    return "*" in glob or "?" in glob


@lru_cache(maxsize=4096)
def _globs(globs: tuple[str, ...]) -> Any:
    """One linear-time pattern for all, None for any."""
    if not globs or "*" in globs:
        return None
    written = (
        "".join({"*": ".*", "?": "."}.get(sign) or re2.escape(sign) for sign in glob) for glob in globs
    )
    return re2.compile("(?s)" + "|".join(f"(?:{pattern})" for pattern in written))


def fitting(globs: Sequence[str]) -> Callable[[str], bool]:
    """Says of a name whether a rule with these globs concerns the tool or agent; no globs mean any."""
    return partial(_globbed, _globs(tuple(globs)))


def _globbed(pattern: Any, name: str) -> bool:
    return pattern is None or pattern.fullmatch(name) is not None


def _located(message: str) -> list[Problem]:
    found = [
        Problem(_clip(text), max(0, int(line)), max(0, int(column)))
        for line, column, text in _ERROR_LINE.findall(message)
    ]
    return found or [Problem(_clip(message))]


def _clip(error: object) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:300] + "…"


def _micros(began: int) -> int:
    return (time.perf_counter_ns() - began) // 1000


def _compile(text: str) -> Any:
    return _environment(quick=True).compile(text)


_EVALUATOR = Evaluator(_compile, _alone, _together)


@lru_cache(maxsize=2)
def _environment(*, quick: bool = False) -> Any:
    """The words that conditions may use; `quick` adds the names that are no one's to write."""
    types = {fact.name: fact.type for fact in vocabulary.FACTS} | (hoisting.TYPES if quick else {})
    return cel.NewEnv(
        variables={name: _type(written) for name, written in types.items()},
        functions=[_declaration(function) for function in vocabulary.FUNCTIONS],
    )


def _declaration(function: vocabulary.Function) -> Any:
    overload = cel.Overload(
        function.name,
        return_type=_type(function.returns),
        parameters=[_type(name) for name in function.parameters],
        impl=function.run,
    )
    return cel.FunctionDecl(function.name, [overload])


def _type(written: str) -> Any:
    if written.startswith("list("):
        return cel.Type.List(_type(written[5:-1]))
    if written.startswith("map(string, "):
        return cel.Type.Map(cel.Type.STRING, _type(written[12:-1]))
    return getattr(cel.Type, written.upper())
