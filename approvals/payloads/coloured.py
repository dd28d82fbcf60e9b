"""Texts in a programming language, coloured by pygments. Pure but for the clock.

Colours are classes of our own, few enough to learn; pygments' many token types map onto them. The text is
always whole: beyond MOST_COLOURED characters, or when colouring takes too long, it goes on plain and says so.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import lru_cache

from pygments.lexer import Lexer  # type: ignore[import-untyped]
from pygments.lexers import get_lexer_by_name  # type: ignore[import-untyped]
from pygments.token import (  # type: ignore[import-untyped]
    Comment,
    Error,
    Keyword,
    Literal,
    Name,
    Number,
    Operator,
    Punctuation,
    String,
    _TokenType,
)

from approvals.payloads.parts import Code, Value

MOST_COLOURED = 32_000
MOST_SECONDS = 0.08
# Our names for languages, and pygments' own.
LEXERS = {
    "python": "python",
    "shell": "bash",
    "sql": "postgresql",
    "json": "json",
    "html": "html",
    "xml": "xml",
}
# The first that a token is one of; what is none of them stays plain.
_CLASSES = (
    (Comment, "hl-comment"), (Keyword, "hl-keyword"), (String, "hl-string"), (Number, "hl-number"),
    (Literal, "hl-string"), (Operator.Word, "hl-keyword"), (Name.Builtin, "hl-builtin"),
    (Name.Function, "hl-name"), (Name.Class, "hl-name"), (Name.Tag, "hl-keyword"),
    (Name.Variable, "hl-name"), (Name.Attribute, "hl-name"), (Name.Decorator, "hl-builtin"),
    (Operator, "hl-sign"), (Punctuation, "hl-sign"), (Error, "hl-error"),
)  # fmt: skip


def code(value: Value, language: str) -> Code:
    """The text with what is coloured in it; a language that nobody knows stays plain."""
    if language not in LEXERS:
        return Code(value, language)
    runs, reached = _runs(value.text[:MOST_COLOURED], language)
    note = "" if reached >= len(value.text) else f"coloured up to character {reached:,}, plain from there"
    return Code(value, language, runs, note)


def _runs(text: str, language: str) -> tuple[tuple[tuple[int, int, str], ...], int]:
    """What is coloured, and how far into the text that goes."""
    found: list[tuple[int, int, str]] = []
    lexer = _lexer(language)  # the first of a process takes its time, which is not this text's
    reached, until = 0, time.monotonic() + MOST_SECONDS
    for start, end, look in _tokens(text, lexer):
        reached = end
        if found and look and found[-1][1:] == (start, look):
            found[-1] = (found[-1][0], end, look)
        elif look:
            found.append((start, end, look))
        if time.monotonic() > until:
            break
    return tuple(found), reached


def _tokens(text: str, lexer: Lexer) -> Iterator[tuple[int, int, str]]:
    for start, kind, part in lexer.get_tokens_unprocessed(text):
        yield start, start + len(part), _look(kind)


@lru_cache(maxsize=len(LEXERS))
def _lexer(language: str) -> Lexer:
    return get_lexer_by_name(LEXERS[language])


@lru_cache(maxsize=1024)
def _look(kind: _TokenType) -> str:
    return next((look for parent, look in _CLASSES if kind in parent), "")
