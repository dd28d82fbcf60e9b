"""Conditions as rows that a person reads and fills in, and the CEL that they stand for.

`write` makes CEL of rows; `rowreader.read` makes rows of CEL, and `rowwords.words` a sentence. The only thing
ever stored is the CEL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime

from policies import celtext
from policies.celtext import Tokens, Value, literal, literals, tokens
from policies.facts import FACTS
from policies.operators import COLLECTED, OPERATORS, Operator

JOINS = ("all", "any")
MAX_ROWS = 50
MAX_STEPS = 4
# How one asks first whether an argument is there: not at all (by hand), by has(), by has() and != null.
GUARDS = ("", "has", "null")
DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")

_ARGUMENT = re.compile(r'args(?: \. [A-Za-z_]\w*| \[ "\d+" \])+')
_CLOCK = re.compile(r'now \. (getHours|getDayOfWeek) \( "\d+" \)')
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,2}")
_FACTS = frozenset(fact.name for fact in FACTS) - {"args", "origin"}
_COUNTED = "recipients(args)"


class RowRefused(ValueError):
    """A row that stands for no condition; `row` counts from 0, those of groups where they stand."""

    def __init__(self, row: int, why: str) -> None:
        super().__init__(why)
        self.row, self.why = row, why


@dataclass(frozen=True)
class Row:
    """One comparison: the subject (an argument or fact, as CEL writes it), the operator's id, its values."""

    subject: str
    operator: str
    values: tuple[Value, ...] = ()
    guard: str = "has"

    @property
    def argument(self) -> bool:
        return self.subject.startswith("args")


@dataclass(frozen=True)
class Condition:
    """Rows that must all hold, or any of them. A group among them holds rows only."""

    join: str
    rows: tuple[Row | Condition, ...]

    def flat(self) -> list[Row]:
        """Every row, in the order in which they are read and counted."""
        return [row for item in self.rows for row in (item.flat() if isinstance(item, Condition) else [item])]


def write(condition: Condition) -> str:
    """The CEL of these rows; none is the empty condition, always true. Raises RowRefused."""
    if condition.join not in JOINS or len(condition.flat()) > MAX_ROWS:
        raise RowRefused(0, f"rows are joined by {' or '.join(JOINS)}, at most {MAX_ROWS} of them")
    terms = []
    at = 0
    for item in condition.rows:
        rows = item.rows if isinstance(item, Condition) else (item,)
        written = _group(item, at) if isinstance(item, Condition) else _checked(at, item)
        terms.append(written)
        at += len(rows)
    return _joined(terms, condition.join, "\n")


def _group(group: Condition, at: int) -> str:
    rows = [row for row in group.rows if isinstance(row, Row)]
    if group.join not in JOINS or len(rows) != len(group.rows):
        raise RowRefused(at, "a group holds rows, not groups")
    written = _joined([_checked(at + more, row) for more, row in enumerate(rows)], group.join, " ")
    return f"({written})" if len(rows) > 1 else written


def _joined(terms: list[str], join: str, blank: str) -> str:
    if join == "all" or len(terms) == 1:
        return f"{blank}&& ".join(terms)
    return f"{blank}|| ".join(f"({term})" if _is_and(term) else term for term in terms)


def _is_and(term: str) -> bool:
    return " && " in term and term[0] not in "!("


def _checked(at: int, row: Row) -> str:
    try:
        return term(row)
    except ValueError as error:
        raise RowRefused(at, str(error)) from None


def term(row: Row) -> str:
    """One row as CEL. ValueError in words for a person."""
    operator = _operator(row)
    steps = steps_of(row.subject)
    if not operator.opposite:
        return _positive(row, operator, steps)
    affirmed = OPERATORS[operator.opposite]
    return _denied(replace(row, operator=affirmed.id), affirmed, steps)


def _denied(row: Row, operator: Operator, steps: tuple[str, ...]) -> str:
    positive = _positive(row, operator, steps)
    guarded = bool(steps and row.guard and operator.id != "present")
    if operator.id == "is" and not guarded:
        return f"{row.subject} != {literal(row.values[0])}"
    one_call = operator.shape.startswith("«E».") or operator.id in COLLECTED
    one_call |= operator.id == "yes" and not steps
    one_call |= operator.id == "present" and positive.startswith("has(") and positive.count(" && ") == 0
    return f"!{positive}" if one_call and not guarded else f"!({positive})"


def _operator(row: Row) -> Operator:
    operator = OPERATORS.get(row.operator)
    if operator is None:
        raise ValueError("choose a comparison")
    if operator.values == "none" and row.values:
        raise ValueError("this comparison takes no value")
    if operator.values == "one" and len(row.values) != 1:
        raise ValueError("give a value")
    if operator.values == "many" and not row.values:
        raise ValueError("give at least one value")
    if len(row.values) > 200:
        raise ValueError("give at most 200 values")
    return operator


def _positive(row: Row, operator: Operator, steps: tuple[str, ...]) -> str:
    if operator.id in ("present", "came") and not steps:
        raise ValueError("only arguments are given, and come from somewhere")
    if operator.id == "present":
        return _guard(steps, "null" if row.guard == "null" else "has")
    if operator.id == "came":
        return _came(steps, row.values)
    if operator.id in COLLECTED:
        if row.subject != COLLECTED[operator.id].split(".")[0]:
            raise ValueError(f"this comparison is for {COLLECTED[operator.id].split('.')[0]}")
        return COLLECTED[operator.id].format(_among(row.values))
    if operator.id == "any_found" and row.subject != "findings":
        raise ValueError("this comparison is for findings")
    if operator.id in ("before", "after"):
        _moment(row.values[0])
    said = _shaped(row, operator, steps)
    guard = _guard(steps, row.guard) if steps else ""
    return f"{guard} && {said}" if guard else said


def _shaped(row: Row, operator: Operator, steps: tuple[str, ...]) -> str:
    if operator.id == "yes" and steps:
        return f"{row.subject} == true"
    value = literals(row.values) if operator.values == "many" else "".join(map(literal, row.values))
    return operator.shape.replace("«E»", row.subject).replace("«V»", value)


def _moment(value: Value) -> None:
    try:
        known = bool(_MOMENT.fullmatch(str(value))) and datetime.fromisoformat(str(value))
    except ValueError:
        known = False
    if not known:
        raise ValueError("give a moment such as 2030-12-31T18:00:00Z")


def _among(values: tuple[Value, ...]) -> str:
    return f"== {literal(values[0])}" if len(values) == 1 else f"in {literals(values)}"


def _came(steps: tuple[str, ...], values: tuple[Value, ...]) -> str:
    if len(steps) > 1:
        raise ValueError("where it came from is known for whole arguments")
    return f"{_has('origin', steps[0])} && {celtext.place('origin', steps)} {_among(values)}"


def _guard(steps: tuple[str, ...], guard: str) -> str:
    """What asks whether an argument is there, part by part."""
    if guard not in GUARDS:
        raise ValueError("an unknown way of asking whether the argument is given")
    if not guard:
        return ""
    asked = [_has(celtext.place("args", steps[:at]), step) for at, step in enumerate(steps)]
    missing = [f"{celtext.place('args', steps)} != null"] if guard == "null" else []
    return " && ".join(asked + missing)


def _has(holder: str, step: str) -> str:
    written = celtext.place(holder, (step,))
    # has() takes a field, and a field has a plain name.
    return f"has({written})" if written == f"{holder}.{step}" else f"{literal(step)} in {holder}"


def steps_of(subject: str) -> tuple[str, ...]:
    """The path of an argument (`args.mail.to`: mail, to), empty for a fact. ValueError for all else."""
    taken = tokens(subject)
    if taken is None:
        raise ValueError("choose what is compared")
    if _ARGUMENT.fullmatch(str(taken)):
        steps = tuple(
            str(taken.value(word)) if word.startswith('"') else word
            for word in taken.words[1:] if word not in (".", "[", "]")
        )  # fmt: skip
        if subject != celtext.place("args", steps) or len(steps) > MAX_STEPS:
            raise ValueError("choose what is compared")
        return steps
    if subject not in _FACTS and subject != _COUNTED and not _is_clock(subject, taken):
        raise ValueError("choose what is compared")
    return ()


def _is_clock(subject: str, taken: Tokens) -> bool:
    found = _CLOCK.fullmatch(str(taken))
    zone = str(taken.values[0]) if taken.values else ""
    return bool(found and _ZONE.fullmatch(zone) and subject == f'now.{found[1]}("{zone}")')
