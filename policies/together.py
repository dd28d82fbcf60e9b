"""Conditions answered together: many small evaluations cost more in crossing into CEL than in thinking.

The conditions of the rules that one call concerns are joined as [(first), (second), …] and evaluated at once.
That is safe because each has been type-checked alone (so it is one whole expression, and no text of one can
reach into another) and has no side effects. One that errs spoils the whole list, so then each is asked alone,
as it would have been, and those that erred are left out of the list from then on. Nothing but a list of true
and false of the right length is taken for an answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Answer = bool | str | None
"""Of a condition: true, false or the error as text. None was not asked."""

MAX_JOINED = 32
MAX_JOINED_TEXT = 20_000
# Joining takes about as long as a thousand questions: not for a call that comes once or twice.
WORTH_JOINING = 4
# So often may a name hold nothing for a condition before its group is asked in its own words.
MISSES = 3


@dataclass(frozen=True)
class Condition:
    """A condition as written and as compiled; `quick` is the same written with the names it `needs` bound."""

    text: str
    program: Any
    quick: str = ""
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Evaluator:
    """How to compile a text (RuntimeError or ValueError if it cannot be) and how to ask what was compiled.

    `alone` gives true, false or the error; `together` the values of a list, None where it failed.
    """

    compile: Callable[[str], Any]
    alone: Callable[[Any, Any], bool | str]
    together: Callable[[Any, Any], list[Any] | None]


@dataclass
class Room:
    """How many conditions may still be joined: what is compiled stays in memory."""

    left: int


class Questions:
    """The conditions of some rules, in order; None is a rule without one, which always applies.

    Safe to share between threads: what is joined is replaced whole.
    """

    def __init__(self, conditions: Sequence[Condition | None], evaluator: Evaluator, room: Room) -> None:
        self._start: list[Answer] = [True if condition is None else None for condition in conditions]
        self._groups = [_Group(part, evaluator, room) for part in _parts(conditions)]
        self._waiting = deque(group for group in self._groups if len(group.asked) > 1)
        self._rounds = 0
        self.needs: frozenset[str] = frozenset()

    def answers(self, activation: Any) -> list[Answer]:
        """What every condition says, in order. `needs` names what should be bound beside the facts."""
        answers = self._start.copy()
        for group in self._groups:
            if group.answer(activation, answers):
                self._waiting.append(group)
        self._rounds += 1
        if self._waiting and self._rounds >= WORTH_JOINING:
            self._join_one()
        return answers

    def _join_one(self) -> None:
        # One a call, so that no call waits for all of them.
        try:
            group = self._waiting.popleft()
        except IndexError:  # another thread took the last one
            return
        group.join()
        self.needs = frozenset().union(*(each.needs for each in self._groups))


@dataclass(frozen=True)
class _Joined:
    places: tuple[int, ...]
    rest: tuple[int, ...]
    program: Any
    needs: frozenset[str]


class _Group:
    def __init__(self, asked: dict[int, Condition], evaluator: Evaluator, room: Room) -> None:
        self.asked = asked
        self._evaluator = evaluator
        self._room = room
        self._outcasts: frozenset[int] = frozenset()
        self._joined: _Joined | None = None
        self._missed = 0

    @property
    def needs(self) -> frozenset[str]:
        joined = self._joined
        return joined.needs if joined else frozenset()

    def answer(self, activation: Any, answers: list[Answer]) -> bool:
        """Write the answers in their places; whether the group should be joined anew."""
        joined = self._joined
        if joined is None:
            self._each(self.asked, activation, answers)
            return False
        values = self._evaluator.together(joined.program, activation)
        if values is not None and len(values) == len(joined.places) and {*map(type, values)} == {bool}:
            for place, value in zip(joined.places, values, strict=True):
                answers[place] = value
            self._each(joined.rest, activation, answers)
            return False
        self._each(self.asked, activation, answers)
        return self._cast_out(joined, answers)

    def _each(self, places: Any, activation: Any, answers: list[Answer]) -> None:
        alone = self._evaluator.alone
        for place in places:
            answers[place] = alone(self.asked[place].program, activation)

    def _cast_out(self, joined: _Joined, answers: list[Answer]) -> bool:
        erred = frozenset(place for place in joined.places if isinstance(answers[place], str))
        if self._joined is not joined or not (erred or joined.needs):
            return False
        if not erred:  # in its own words, so a name held nothing for it
            self._missed += 1
            if self._missed < MISSES:
                return False
        self._outcasts |= erred
        self._joined = None
        self._room.left += len(joined.places)
        return True

    def join(self) -> None:
        """Compile the conditions as one list; those that cannot be go on being asked one by one."""
        places = tuple(place for place in self.asked if place not in self._outcasts)
        if len(places) < 2 or len(places) > self._room.left:
            return
        asked = [self.asked[place] for place in places]
        plain = self._missed >= MISSES
        texts = [each.text if plain else each.quick or each.text for each in asked]
        needs = frozenset[str]() if plain else frozenset[str]().union(*(each.needs for each in asked))
        # Each on its own line, since a condition may end in a comment.
        text = ",\n".join(f"({text}\n)" for text in texts)
        try:
            program = self._evaluator.compile(f"[{text}]")
        except (RuntimeError, ValueError):  # too deep or too long as a list, though each alone is not
            return
        self._room.left -= len(places)
        self._joined = _Joined(places, tuple(self._outcasts), program, needs)


def _parts(conditions: Sequence[Condition | None]) -> list[dict[int, Condition]]:
    parts: list[dict[int, Condition]] = []
    length = MAX_JOINED_TEXT
    for place, condition in enumerate(conditions):
        if condition is None:
            continue
        length += len(condition.text)
        if length > MAX_JOINED_TEXT or len(parts[-1]) >= MAX_JOINED:
            parts.append({})
            length = len(condition.text)
        parts[-1][place] = condition
    return parts
