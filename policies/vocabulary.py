"""The facts and functions of `facts.py` as tables in Markdown, for the page that policy editors read."""

from __future__ import annotations

from collections.abc import Iterable

from policies.facts import FACTS, FUNCTIONS, Fact, Function

BEGIN = "<!-- facts: begin; `python3 manage.py facts --write` writes what stands between these marks -->"
END = "<!-- facts: end -->"


def markdown() -> str:
    """Both tables, with the marks around them."""
    facts = _table(("fact", "type", "what it says", "example"), map(_fact, FACTS))
    functions = _table(("function", "gives", "what it does", "example"), map(_function, FUNCTIONS))
    return "\n".join([BEGIN, "", *facts, "", *functions, "", END])


def replaced(page: str) -> str:
    """The page with its tables renewed. Raises ValueError where it lacks the marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page lacks the marks between which the tables stand")
    return before + markdown() + after


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [heads, ("---",) * len(heads), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _fact(fact: Fact) -> tuple[str, ...]:
    return (_code(fact.name), _code(fact.type), _text(fact.doc), _code(fact.example))


def _function(function: Function) -> tuple[str, ...]:
    call = f"{function.name}({', '.join(function.parameters)})"
    return (_code(call), _code(function.returns), _text(function.doc), _code(function.example))


def _code(text: str) -> str:
    return f"`{_text(text)}`"


def _text(text: str) -> str:
    # A bar would end the cell, even inside of code.
    return text.replace("|", "\\|")
