"""The narrowest condition that some calls have in common: what a suggested rule may let pass. Pure.

Calls that people approved in; a CEL condition out that holds for each of them and for little else: the very
values of what says whom or what is affected, from origins no worse than those approved,
with nothing found in them. Where that would take more than a few values the answer is that it is too wide;
only a number that is named like a quantity is bounded by the largest approved, and only addresses at a
domain of the organisation are known by their domain.

A question that is spared must be an edit of the rule that asks (`excepted`): an allow outweighs no ask.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from policies.facts import Facts
from policies.functions import domain, host
from policies.lookup import WORST_FIRST, rank
from policies.values import canonical

FEW = 5  # different values of one argument
FEW_IN_LISTS = 10
MAX_VALUE = 200  # characters of one value
# An integer may be an account's number as well: a range of those would let strangers in.
_QUANTITIES = (
    "amount price sum total cost fee quantity qty count size limit days hours minutes seconds percent"
)
QUANTITIES = frozenset(_QUANTITIES.split())
_WORDS = re.compile(r"[a-z]+")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEYWORDS = """true false null in as break const continue else for function if import let loop package
namespace return var void while"""
_RESERVED = frozenset(_KEYWORDS.split())


class TooWide(Exception):
    """There is no narrow condition; the message says why, for a person."""


Found = tuple[str, str] | None
"""A bound in words and in CEL."""


@dataclass(frozen=True)
class Narrow:
    """`condition` in CEL, and the same in words: what it speaks of, and what that must be."""

    condition: str
    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Bound:
    about: str
    words: str
    cel: str


def narrow(calls: Sequence[Facts], *, domains: Collection[str] = ()) -> Narrow:
    """The condition that all these calls of one agent and one tool meet.

    `domains` are those of the organisation, lower-case. Raises TooWide where a narrow one does not exist: an
    undeclared or destructive tool, too many values, findings, a session that has read an injection.
    """
    _refuse_grave(calls)
    bounds = [
        *_arguments(calls, frozenset(domains)),
        *_origins(calls),
        *_session(calls),
        _Bound("the firewall", "finds nothing in the arguments", "size(findings) == 0"),
    ]
    lines = tuple((bound.about, bound.words) for bound in bounds if bound.words)
    return Narrow(" &&\n".join(bound.cel for bound in bounds), lines)


def exception(condition: str, *, agent: str, tool: str, end: datetime) -> str:
    """Where a rule that asks is to be silent: for this agent and tool, under the condition, until `end`."""
    moment = end.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    named = f"agent.name == {_text(agent)} && tool.name == {_text(tool)}"
    return f'now < timestamp("{moment}") &&\n{named} &&\n{condition}'


def all_of(conditions: Iterable[str]) -> str:
    """One condition that holds where all of them do; an empty one always does."""
    # On lines of their own, since a condition may end in a comment.
    return " &&\n".join(f"(\n{text.strip()}\n)" for text in conditions if text.strip()) or "true"


def excepted(when: str, exception: str) -> str:
    """An asking rule's condition that asks as before, except where `exception` holds.

    Where the old condition fails the new one does too, and so it asks: with `&&` an exception that holds
    would have covered up the failure.
    """
    if not when.strip():
        return f"!(\n{exception}\n)"
    return f"(\n{when.strip()}\n)\n? !(\n{exception}\n)\n: false"


def _refuse_grave(calls: Sequence[Facts]) -> None:
    tool = calls[0].tool
    if not tool.declared:
        raise TooWide("nobody declared the tool")
    if tool.effect == "destructive":
        raise TooWide("the tool is destructive: each call stays a person's decision")
    if any(call.findings for call in calls):
        raise TooWide("the firewall found something in some of the arguments")
    if any("injection" in call.session.labels for call in calls):
        raise TooWide("some of the sessions had read an injection")


def _arguments(calls: Sequence[Facts], domains: frozenset[str]) -> list[_Bound]:
    """Bounds of the authority arguments; of all arguments where the tool names no authority."""
    named = {name.partition(".")[0] for name in calls[0].tool.authority or ()}
    every = {name for call in calls for name in call.args}
    bounds = [_argument(name, calls, domains) for name in sorted(named or every)]
    if named and not named & every:
        raise TooWide("none of the calls says whom or what it affects")
    if named:
        return bounds
    known = _list(every)
    only = f"args.all(name, name in {known})" if every else "size(args) == 0"
    return [*bounds, _Bound("the arguments", f"are no others than {known}" if every else "are none", only)]


def _argument(name: str, calls: Sequence[Facts], domains: frozenset[str]) -> _Bound:
    values = [call.args[name] for call in calls if name in call.args]
    path, there = _path("args", name), _there("args", name)
    if not values:
        return _Bound(name, "is not given", f"!{there}")
    exact = _few_in_lists(path, values) or _few(path, values)
    found = _quantity(name, path, values) or exact or _at_home(path, values, domains)
    if found is None:
        raise TooWide(f"{name} had too many different values, or such that nobody can check at a glance")
    if found != exact and any(_origin_of(call, name) == "untrusted" for call in calls):
        raise TooWide(f"{name} came from untrusted text, so only the very values approved could be let pass")
    words, cel = found
    if len(values) < len(calls):
        return _Bound(name, f"{words}, or is not given", f"(!{there} || ({cel}))")
    return _Bound(name, words, f"({there} && {cel})")


def _origin_of(call: Facts, name: str) -> str:
    return min((origin for key, origin in {**call.origin, **call.authority}.items()
                if key.partition(".")[0] == name), key=rank, default="user")  # fmt: skip


def _quantity(name: str, path: str, values: Sequence[Any]) -> Found:
    """A number named like a quantity: from 0 (or the lowest approved) to the largest that was approved."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    if len(numbers) < len(values) or not QUANTITIES & set(_WORDS.findall(spaced)):
        return None
    low, high = min(0, *numbers), max(numbers)
    return f"is {low} to {high}", f"{path} >= {json.dumps(low)} && {path} <= {json.dumps(high)}"


def _few_in_lists(path: str, values: Sequence[Any]) -> Found:
    """Lists of texts: each item one of a few, and no more of them than in any approved call."""
    if not all(isinstance(value, list) and all(isinstance(item, str) for item in value) for value in values):
        return None
    items, most = {item for value in values for item in value}, max(map(len, values))
    if not items or len(items) > FEW_IN_LISTS or not all(map(_plain, items)):
        return None
    listed = _list(items)
    return f"holds at most {most} of {listed}", (
        f"size({path}) <= {most} && {path}.all(item, item in {listed})"
    )


def _few(path: str, values: Sequence[Any]) -> Found:
    """Exactly one of a few values, whatever they are."""
    different = {canonical(value): value for value in values}
    if len(different) > FEW or not all(map(_plain, different.values())):
        return None
    written = sorted(map(_literal, different.values()))
    if len(written) == 1:
        return f"is {written[0]}", f"{path} == {written[0]}"
    return f"is one of {', '.join(written)}", f"{path} in [{', '.join(written)}]"


def _at_home(path: str, values: Sequence[Any], domains: frozenset[str]) -> Found:
    """Addresses or URLs that are all of one domain, which is the organisation's."""
    lists = all(isinstance(value, list) for value in values)
    leaves = [item for value in values for item in value] if lists else list(values)
    if not leaves or not all(isinstance(leaf, str) for leaf in leaves):
        return None
    for call, read in (("domain", domain), ("host", host)):
        home = _shared(leaves, read, domains)
        if home:
            each = f"{call}({'item' if lists else path}) == {_text(home)}"
            most = max(map(len, values)) if lists else 0
            cel = f"size({path}) <= {most} && {path}.all(item, {each})" if lists else each
            return (f"holds at most {most}, all at {home}" if lists else f"is at {home}"), cel
    return None


def _shared(leaves: Iterable[str], read: Callable[[str], str], domains: frozenset[str]) -> str:
    try:
        found = {read(leaf) for leaf in leaves}
    except (ValueError, UnicodeError):
        return ""
    home = found.pop() if len(found) == 1 else ""
    ours = any(home == name or home.endswith(f".{name}") for name in domains)
    return home if ours and _plain(home) else ""


def _origins(calls: Sequence[Facts]) -> list[_Bound]:
    """Of each authority argument (of each argument, where there is none): no worse than was approved."""
    fact = "authority" if calls[0].tool.authority else "origin"
    seen = [getattr(call, fact) for call in calls]
    names = sorted({name for origins in seen for name in origins})
    bounds = [_origin(fact, name, [origins[name] for origins in seen if name in origins]) for name in names]
    only = f"{fact}.all(name, name in {_list(names)})" if names else f"size({fact}) == 0"
    # What is not named above is not given either, so its origin needs no words of its own.
    return [*bounds, _Bound("", "", only)]


def _origin(fact: str, name: str, seen: Iterable[str]) -> _Bound:
    worst = min(seen, key=rank)
    fine = [origin for origin in reversed(WORST_FIRST) if rank(origin) >= rank(worst)]
    cel = f"(!{_there(fact, name)} || {_path(fact, name)} in {_list(fine, ordered=True)})"
    words = f"is no worse than {worst}" if worst != WORST_FIRST[0] else "may be any: untrusted was approved"
    return _Bound(f"origin of {name}", words, cel)


def _session(calls: Sequence[Facts]) -> list[_Bound]:
    labels = sorted({label for call in calls for label in call.session.labels})
    cel = f"session.labels.all(label, label in {_list(labels)})" if labels else "size(session.labels) == 0"
    words = f"has no label but {', '.join(labels)}" if labels else "has no label"
    bounds = [_Bound("the session", words, cel)]
    if all(call.session.attested for call in calls):
        bounds.append(_Bound("the session", "was opened by the host application", "session.attested"))
    return bounds


def _plain(value: Any) -> bool:
    """Whether a person can read it at a glance and CEL reads the same: printable, and not long."""
    if isinstance(value, str):
        return value.isprintable() and len(value) <= MAX_VALUE
    written = _literal(value)
    return written.isprintable() and len(written) <= MAX_VALUE


def _literal(value: Any) -> str:
    """A JSON value as CEL writes it, which for printable texts is as JSON does."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _text(value: str) -> str:
    if not _plain(value):
        raise TooWide("a name holds what nobody can read")
    return _literal(value)


def _list(values: Iterable[str], *, ordered: bool = False) -> str:
    return "[" + ", ".join(_text(value) for value in (values if ordered else sorted(values))) + "]"


def _dotted(name: str) -> bool:
    return _IDENTIFIER.fullmatch(name) is not None and name not in _RESERVED


def _path(fact: str, name: str) -> str:
    return f"{fact}.{name}" if _dotted(name) else f"{fact}[{_text(name)}]"


def _there(fact: str, name: str) -> str:
    return f"has({fact}.{name})" if _dotted(name) else f"({_text(name)} in {fact})"
