"""CEL as text: values written as literals that nothing can break out of, and text taken apart into tokens.

Source of the grammar: https://github.com/google/cel-spec/blob/master/doc/langdef.md (Syntax). Only the part
of it that `conditions.py` writes is read back; anything else is None, never a guess.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

Value = str | int | float | bool

MAX_TEXT = 1000
MAX_NUMBER = 2**53 - 1
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Words that the grammar keeps for itself: a field of such a name is written in brackets.
RESERVED = frozenset(
    {
        *("as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in"),
        *("let", "loop", "namespace", "null", "package", "return", "true", "var", "void", "while"),
    }
)

_SHORT = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_LONG = {"\\": "\\", '"': '"', "'": "'", "n": "\n", "r": "\r", "t": "\t"}
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<text>"(?:[^"\\\n\r]|\\.)*"|'(?:[^'\\\n\r]|\\.)*')
    |(?P<number>-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w.]))
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*|«[EV]»)(?!["'])
    |(?P<sign>&&|\|\||==|!=|<=|>=|[<>!.,()\[\]])
    )""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)


def literal(value: Value) -> str:
    """A value as CEL writes it. ValueError for what none can hold: NaN, a lone surrogate, a long text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quoted(value)
    if not math.isfinite(value) or abs(value) > MAX_NUMBER:
        raise ValueError(f"a number lies between -{MAX_NUMBER} and {MAX_NUMBER}")
    return repr(value)


def literals(values: Iterable[Value]) -> str:
    """A list of values as CEL writes it."""
    return f"[{', '.join(map(literal, values))}]"


def _quoted(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise ValueError(f"a value has at most {MAX_TEXT} characters")
    if any(sign == "\x00" or "\ud800" <= sign <= "\udfff" for sign in text):
        raise ValueError("a value holds no NUL and no lone surrogate")
    return '"' + "".join(_SHORT.get(sign) or _visible(sign) for sign in text) + '"'


def _visible(sign: str) -> str:
    # What cannot be seen, or turns the line round, is spelled out: who reads the condition must see it.
    if sign.isprintable():
        return sign
    return f"\\u{ord(sign):04x}" if ord(sign) < 0x10000 else f"\\U{ord(sign):08x}"


def place(root: str, steps: Iterable[str]) -> str:
    """A field of a field: `args.mail.to`, `args["x-y"]`."""
    return root + "".join(
        f".{step}" if NAME.fullmatch(step) and step not in RESERVED else f"[{_quoted(step)}]"
        for step in steps
    )


def shown(value: Value) -> str:
    """A value for a sentence: bare where that cannot be misread, else as the literal."""
    if isinstance(value, str):
        return value if re.fullmatch(r"[\w@:/+%*.-]{1,100}", value, re.ASCII) else _quoted(value)
    return json.dumps(value)


@dataclass(frozen=True)
class Tokens:
    """A condition without its spaces: a text stands as `"n"`, a number as `#n`, n counting `values`."""

    words: tuple[str, ...]
    values: tuple[Value, ...]

    def __str__(self) -> str:
        return " ".join(self.words)

    def same_as(self, other: Tokens) -> bool:
        typed = [(type(value), value) for value in self.values]
        return self.words == other.words and typed == [(type(value), value) for value in other.values]

    def value(self, word: str) -> Value:
        """The value that a word stands for."""
        return word == "true" if word in ("true", "false") else self.values[int(word.strip('"#'))]


def tokens(text: str) -> Tokens | None:
    """The tokens of a condition, None where it holds anything that is not read here."""
    words: list[str] = []
    values: list[Value] = []
    try:
        for kind, found in _scan(text):
            if kind == "text":
                words.append(f'"{len(values)}"')
                values.append(_unquoted(found))
            elif kind == "number":
                words.append(f"#{len(values)}")
                values.append(int(found) if re.fullmatch(r"-?[0-9]{1,16}", found) else float(found))
            else:
                words.append(found)
    except ValueError:
        return None
    return Tokens(tuple(words), tuple(values))


def _scan(text: str) -> Iterator[tuple[str, str]]:
    at, end = 0, len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            raise ValueError("not read")
        yield found.lastgroup, found[found.lastgroup]
        at = found.end()


def _unquoted(text: str) -> str:
    return _ESCAPE.sub(_unescaped, text[1:-1])


def _unescaped(found: re.Match[str]) -> str:
    if point := found[1] or found[2]:
        return chr(int(point, 16))
    if found[3] not in _LONG:
        raise ValueError("not read")
    return _LONG[found[3]]
