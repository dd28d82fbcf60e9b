"""Rows of CEL, for what is written in the shapes of `operators.py`.

Every row that is found is written again and compared with what was read, so that what rows show is what the
condition says, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, lru_cache

from policies import celtext
from policies.celtext import Tokens, Value, literal, tokens
from policies.conditions import MAX_ROWS, MAX_STEPS, Condition, Row, RowRefused, term, write
from policies.operators import COLLECTED, OPERATORS

# The parts of a guard, a null check and what they guard.
_LONGEST = MAX_STEPS + 2
_SUBJECT = r'(?P<E>[A-Za-z_]\w*(?: \. [A-Za-z_]\w*| \[ "\d+" \])*(?: \( (?:args|"\d+") \))?)'
_ONE = r'(?P<V>"\d+"|#\d+)'
_LIST = r'\[ (?P<V>(?:"\d+"|#\d+)(?: , (?:"\d+"|#\d+))*) \]'


@lru_cache(maxsize=4096)
def read(text: str) -> Condition | None:
    """The rows that a condition stands for, None where rows cannot show it."""
    if not text.strip():
        return Condition("all", ())
    taken = tokens(text)
    if taken is None:
        return None
    for join, sign in (("all", "&&"), ("any", "||")):
        rows = _rows(taken, _split(taken.words, sign), join)
        if rows is not None and _writes(Condition(join, rows), taken):
            return Condition(join, rows)
    return None


def _writes(condition: Condition, taken: Tokens) -> bool:
    try:
        written = tokens(write(condition))
    except RowRefused:
        return False
    # Values may be numbered otherwise only if their order is, which would be another condition.
    return written is not None and written.same_as(taken)


def _split(words: tuple[str, ...], sign: str) -> list[tuple[str, ...]]:
    """The parts between a sign where it stands in no brackets."""
    parts: list[list[str]] = [[]]
    depth = 0
    for word in words:
        depth += (word in "([") - (word in ")]")
        if word == sign and depth == 0:
            parts.append([])
        else:
            parts[-1].append(word)
    return [tuple(part) for part in parts]


def _rows(
    taken: Tokens, parts: list[tuple[str, ...]], join: str, *, groups: bool = True
) -> tuple[Row | Condition, ...] | None:
    rows: list[Row | Condition] = []
    while parts and len(rows) <= MAX_ROWS:
        # A guard belongs to what follows it, so the longest run that is one row is taken.
        for length in range(min(len(parts), _LONGEST) if join == "all" else 1, 0, -1):
            run = tuple(word for part in parts[:length] for word in ("&&", *part))[1:]
            row = _row(taken, run) or (_read_group(taken, run, join) if groups and length == 1 else None)
            if row is not None:
                break
        else:
            return None
        rows.append(row)
        parts = parts[length:]
    return tuple(rows)


def _read_group(taken: Tokens, words: tuple[str, ...], outer: str) -> Condition | None:
    inner = _unwrapped(words)
    if inner == words:
        return None
    join, sign = ("any", "||") if outer == "all" else ("all", "&&")
    parts = _split(inner, sign)
    rows: list[Row | Condition] = []
    for part in [parts] if join == "all" else [[part] for part in parts]:
        found = _rows(taken, part, join, groups=False) if len(parts) > 1 else None
        if found is None:
            return None
        rows += found
    return Condition(join, tuple(rows))


def _unwrapped(words: tuple[str, ...]) -> tuple[str, ...]:
    """Without the one pair of brackets that stands around all of it."""
    if words[:1] != ("(",):
        return words
    depth = 0
    for at, word in enumerate(words):
        depth += (word in "([") - (word in ")]")
        if depth == 0:
            return words[1:-1] if at == len(words) - 1 else words
    return words


def _row(taken: Tokens, words: tuple[str, ...]) -> Row | None:
    own = _renumbered(taken, _unwrapped(words))
    for row in _candidates(own):
        try:
            written = tokens(term(row))
        except ValueError:
            continue
        if written is not None and written.same_as(own):
            return row
    return None


def _renumbered(taken: Tokens, words: tuple[str, ...]) -> Tokens:
    """A part of the tokens as if it stood alone."""
    values: list[Value] = []
    renamed = []
    for word in words:
        if word[0] in '"#':
            values.append(taken.value(word))
            word = f'"{len(values) - 1}"' if word[0] == '"' else f"#{len(values) - 1}"
        renamed.append(word)
    return Tokens(tuple(renamed), tuple(values))


def _candidates(own: Tokens) -> Iterator[Row]:
    """Rows that might have been written as these tokens; the caller writes each and compares."""
    text = str(own)
    bare = re.sub(r"^! (?:\( (.*) \)|(.*))$", lambda found: found[1] or found[2], text)
    denied = bare != text or " != " in text
    last = _split(tuple(bare.replace(" != ", " == ").split(" ")), "&&")[-1]
    for pattern, operator in _patterns():
        found = pattern.fullmatch(" ".join(last))
        if found is None:
            continue
        for row in _matched(own, found, operator):
            for name in (operator, *(_opposites().get(operator, ()) if denied else ())):
                yield from (replace(row, operator=name, guard=guard) for guard in _guards(row))


def _guards(row: Row) -> tuple[str, ...]:
    return ("has", "null", "") if row.argument else ("has",)


def _matched(own: Tokens, found: re.Match[str], operator: str) -> Iterator[Row]:
    parts = found.groupdict()
    written = parts.get("V") or ""
    values = tuple(own.value(word) for word in written.split(" , ")) if written else ()
    if operator in COLLECTED:
        yield Row(COLLECTED[operator].split(".")[0], operator, values)
        return
    subject = _unmasked(own, parts.get("E") or "findings")
    if operator == "present" and values:
        yield Row(celtext.place(subject, map(str, values)), operator)
        return
    if operator in ("came", "present"):
        subject = re.sub(r"^origin", "args", subject)
    yield Row(subject, operator, values)


def _unmasked(own: Tokens, written: str) -> str:
    words = [literal(own.value(word)) if word[0] in '"#' else word for word in written.split(" ")]
    return "".join(words)


@cache
def _opposites() -> dict[str, tuple[str, ...]]:
    return {item.opposite: (item.id,) for item in OPERATORS.values() if item.opposite}


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    """A pattern over spaced tokens for every shape that an operator is written in."""
    # Those without a value first: `size(findings) > 0` is no length, `args.x == true` no text.
    shapes = [("«E» == true", "yes", "none"), ("size(findings) > 0", "any_found", "none")]
    shapes += [(item.shape, item.id, item.values) for item in OPERATORS.values() if item.shape]
    shapes += [(f"«E» {sign} «V»", "came", count) for sign, count in (("==", "one"), ("in", "many"))]
    for name, shape in COLLECTED.items():
        shapes += [
            (shape.format(f"{sign} «V»"), name, count) for sign, count in (("==", "one"), ("in", "many"))
        ]
    shapes += [
        ("has(«E»)", "present", "none"),
        ("«E» == null", "present", "none"),
        ("«V» in «E»", "present", "one"),
    ]
    return tuple((re.compile(_pattern(shape, values)), name) for shape, name, values in shapes)


def _pattern(shape: str, values: str) -> str:
    taken = tokens(shape)
    assert taken is not None
    # The numbers that stand in a shape itself (`size(…) > 0`) are values of the condition like any other.
    known = {"«E»": _SUBJECT, "«V»": _LIST if values == "many" else _ONE}
    return " ".join(
        known.get(word) or (r"#\d+" if word[0] == "#" else re.escape(word)) for word in taken.words
    )
