"""A condition in words, so that whoever cannot read CEL can read a rule."""

from __future__ import annotations

from functools import lru_cache

from policies.celtext import NAME, Value, shown, tokens
from policies.conditions import DAYS, Condition, Row, steps_of
from policies.operators import OPERATORS
from policies.rowreader import read

LABELS = {
    "tool.sends": "the tool's destination",
    "tool.returns": "what the tool returns",
    "tool.declared": "somebody declared the tool",
    "session.attested": "the host application opened the session",
    "session.user": "the person whom the session serves",
    "recipients(args)": "the number of recipients",
    "session.age": "the session's age in seconds",
    "session.calls": "the number of the session's calls",
    "usage.minute": "the number of the agent's actions in this minute",
    "usage.day": "the number of the agent's actions today",
    "usage.pending": "the number of the agent's actions that wait for people",
    "now": "the time",
    "authority": "arguments that say who or what is affected",
    "findings": "the firewall",
}
_FLAGS = {
    "tool.declared": ("the tool is declared", "nobody declared the tool"),
    "session.attested": ("the host application opened the session", "the agent itself opened the session"),
}
_LABELLED = {
    "has": "is labelled",
    "has_any": "is labelled",
    "has_not": "is not labelled",
    "has_none": "is not labelled",
}
_PHRASES = {
    "any_from": "something that says who or what is affected came from {}",
    "none_from": "nothing that says who or what is affected came from {}",
    "all_from": "all that says who or what is affected came from {}",
    "any_found": "the firewall found something",
    "none_found": "the firewall found nothing",
    "severity": "the firewall found something of severity {}",
    "no_severity": "the firewall found nothing of severity {}",
    "detector": "the firewall found something with {}",
    "no_detector": "the firewall found nothing with {}",
}


@lru_cache(maxsize=4096)
def aloud(when: str) -> str:
    """A condition read aloud, as one term of a sentence; as CEL, in one line, where rows cannot show it."""
    condition = read(when)
    said = words(condition) if condition else " ".join(when.split())
    several = condition.join == "any" and len(condition.rows) > 1 if condition else "||" in said
    return f"({said})" if several else said


def words(condition: Condition) -> str:
    """The rows as one clause of a sentence."""
    said = [f"({words(item)})" if isinstance(item, Condition) else _row(item) for item in condition.rows]
    return (" and " if condition.join == "all" else " or ").join(said)


def label(subject: str) -> str:
    """What a sentence calls an argument or a fact."""
    steps = steps_of(subject)
    if steps:
        return ".".join(step if NAME.fullmatch(step) else shown(step) for step in steps)
    if subject in LABELS:
        return LABELS[subject]
    if subject.startswith("now."):
        what = "the hour of the day" if "getHours" in subject else "the day of the week"
        return f"{what} ({_zone(subject)})"
    holder, _, name = subject.partition(".")
    return f"the {holder}'s {name.replace('_', ' ')}" if name else f"the {holder}"


def _zone(subject: str) -> str:
    taken = tokens(subject)
    return str(taken.values[0]) if taken else ""


def _row(row: Row) -> str:
    named = _named(row)
    if row.subject.endswith(".labels") and row.operator in _LABELLED and not row.argument:
        return f"the {row.subject.partition('.')[0]} {_LABELLED[row.operator]} {named}"
    if row.operator == "size_gt" and row.values == (0,):
        return f"{label(row.subject)} is not empty"
    if row.operator in _PHRASES:
        return _PHRASES[row.operator].format(named)
    if row.subject in _FLAGS and row.operator in ("yes", "no"):
        return _FLAGS[row.subject][row.operator == "no"]
    return f"{label(row.subject)} {OPERATORS[row.operator].words} {named}".rstrip()


def _named(row: Row) -> str:
    said = [_value(row, value) for value in row.values]
    return " or ".join([", ".join(said[:-1]), said[-1]]) if len(said) > 1 else "".join(said)


def _value(row: Row, value: Value) -> str:
    if "getDayOfWeek" in row.subject and isinstance(value, int) and 0 <= value < len(DAYS):
        return DAYS[value]
    return shown(value)
