"""Functions worked out once a call, not once a rule: crossing from CEL into Python and back costs 2 to 4 µs.

`recipients(args)` is the same for every rule that asks, so it becomes a number that is bound with the facts;
`domain(x)` and `host(x)` become look-ups in a map from each text of the arguments to its domain or host. Only
conditions that are answered together are written so, and it changes no answer: what such a name holds is what
the function gives, and where it holds nothing (the function errs, or the text is none of the arguments') the
evaluation fails, all of the list are asked one by one in their own words, and those decide. CEL lets an error
stand only where the outcome hangs on it, so a failed look-up cannot become an answer unseen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from policies import celpieces, functions

PREFIX = "hoisted_"
COUNT, DOMAINS, HOSTS = (PREFIX + name for name in ("recipients", "domain", "host"))
# The types of the names, as CEL writes them. Conditions that people write cannot use them.
TYPES = {COUNT: "int", DOMAINS: "map(string, string)", HOSTS: "map(string, string)"}
MAX_TEXTS, MAX_LENGTH = 500, 320
_LOOKED_UP = {"domain": DOMAINS, "host": HOSTS}
_SIGN = {DOMAINS: "@", HOSTS: "://"}
_FUNCTION: dict[str, Callable[[str], str]] = {
    DOMAINS: lru_cache(maxsize=8192)(functions.domain),
    HOSTS: lru_cache(maxsize=8192)(functions.host),
}
_SURROGATE = re.compile("[\ud800-\udfff]")
_HALF = 1 << 63


def hoist(condition: str) -> tuple[str, frozenset[str]]:
    """A condition in which functions are replaced by names, and which of TYPES it needs; as it is if none."""
    found = celpieces.tokens(condition)
    if found is None or PREFIX in condition:
        return condition, frozenset()
    tokens, read = list(found.all), found.read
    needs = {*_look_up(tokens, found.words, read), *_count(tokens, found.words, read)}
    return ("".join(tokens) if needs else condition), frozenset(needs)


def values(args: Mapping[str, Any], needs: Iterable[str]) -> dict[str, Any]:
    """What these names hold for one call; what has no value is left out."""
    found: dict[str, Any] = {}
    for name in needs:
        if name == COUNT:
            _add_count(args, found)
        else:
            found[name] = _answers(_FUNCTION[name], _SIGN[name], args)
    return found


def _add_count(args: Mapping[str, Any], found: dict[str, Any]) -> None:
    # CEL hands all arguments over, and errs where it cannot take one of them.
    if not _handed_over(args):
        return
    try:
        found[COUNT] = functions.recipients(args)
    except ValueError:  # the conditions that ask for it err, each by itself
        return


def _handed_over(value: Any) -> bool:
    """Whether CEL can take the value: texts that can be encoded, integers of 64 bits, and what holds them."""
    if isinstance(value, str):
        return value.isascii() or not _SURROGATE.search(value)
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _handed_over(key) for key in value) and all(
            map(_handed_over, value.values())
        )
    if isinstance(value, list):
        return all(map(_handed_over, value))
    return isinstance(value, float | None) or (isinstance(value, int) and -_HALF <= value < _HALF)


def _answers(function: Callable[[str], str], sign: str, args: Mapping[str, Any]) -> dict[str, str]:
    known = {}
    for text in _texts(args, sign):
        try:
            known[text] = function(text)
        except ValueError:  # a condition that asks for it errs by itself
            continue
        if len(known) >= MAX_TEXTS:
            break
    return known


def _texts(value: Any, sign: str) -> Iterator[str]:
    if isinstance(value, str):
        if sign in value and len(value) <= MAX_LENGTH:
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item, sign)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, sign)


def _look_up(tokens: list[str], words: Sequence[int], read: list[str]) -> Iterator[str]:
    """Turn domain(…) and host(…) into look-ups; what follows the name in brackets may be anything."""
    for place, word in enumerate(read):
        if word in _LOOKED_UP and read[place + 1 : place + 2] == ["("] and celpieces.whole(read, place):
            end = celpieces.end(read, place + 1)
            if end is not None:
                tokens[words[place]] = _LOOKED_UP[word]
                tokens[words[place + 1]], tokens[words[end]] = "[", "]"
                yield _LOOKED_UP[word]


def _count(tokens: list[str], words: Sequence[int], read: list[str]) -> Iterator[str]:
    """Turn recipients(args) into its name, unless a macro gives the name `args` to something else."""
    if any(read[place + 1] == "args" and read[place] in ("(", ",") for place in _before_comma(read)):
        return
    for place in range(len(read) - 3):
        if read[place : place + 4] == ["recipients", "(", "args", ")"] and celpieces.whole(read, place):
            tokens[words[place]] = COUNT
            for gone in words[place + 1 : place + 4]:
                tokens[gone] = ""
            yield COUNT


def _before_comma(read: list[str]) -> Iterator[int]:
    return (place for place in range(len(read) - 2) if read[place + 2] == ",")
