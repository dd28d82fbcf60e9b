"""JSON values as agentsec accepts them: strictly read, in one normal form, with one canonical encoding.

Two readers of one payload must never disagree on what it says (a duplicate key, `1.0` against `1`, a NaN),
because one of them is the reviewer and the other is what runs. So a value that could be read in two ways is
refused here, before anything judges it. Read as in RFC 8259, restricted as in I-JSON (RFC 7493), and written
as in JCS (RFC 8785).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import rfc8785

from traces.problems import Refused

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_SAFE_INTEGER = (1 << 53) - 1

# Always matches once it has begun, so that a broken string cannot make the scan start over (quadratic time).
_NESTING = re.compile(r'"(?:[^"\\]|\\.?)*+(?:"|\Z)|[\[{]|[\]}]', re.DOTALL)
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class ArgumentsRefused(Refused):
    """The arguments cannot be accepted.

    `path` is a JSON Pointer (RFC 6901) to the value at fault, "" for the whole; `why` is one clause for a
    person. `code` is "invalid", or "too_large" for a size limit.
    """

    def __init__(self, path: str, why: str, *, code: str = "invalid") -> None:
        super().__init__(code, f"{path or 'arguments'}: {why}", path=path, why=why)
        self.path = path
        self.why = why


def pointer(steps: Sequence[str | int]) -> str:
    """The JSON Pointer (RFC 6901) for the given keys and indexes; "" for none."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def stand_in(names: Sequence[str], steps: Sequence[str]) -> bool:
    """Whether all names stand among the steps, in this order; other steps may stand between them."""
    left = iter(steps)
    return all(name in left for name in names)


def parse_json(raw: bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> Any:
    """Read one JSON text of at most `max_bytes` bytes and `max_depth` nested arrays and objects.

    Integral floats come back as ints (`1.0` is 1), so that equal values look equal to every later reader.
    Raises ArgumentsRefused for duplicate keys, NaN and infinities, integers beyond ±(2^53−1), lone
    surrogates, bad UTF-8, text after the value, or a limit exceeded; nothing else is raised on any input.
    """
    if len(raw) > max_bytes:
        raise ArgumentsRefused(
            "", f"{len(raw)} bytes of JSON, at most {max_bytes} are taken", code="too_large"
        )
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArgumentsRefused("", f"not valid UTF-8 at byte {error.start}") from None
    _check_nesting(text, max_depth)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique_object,
            parse_int=_parse_int,
            parse_float=_parse_float,
            parse_constant=_refuse_constant,
        )
    except json.JSONDecodeError as error:
        raise ArgumentsRefused("", f"not valid JSON at character {error.pos}: {error.msg}") from None
    return normalise(value, max_depth=max_depth)


def normalise(value: Any, *, max_depth: int = MAX_DEPTH) -> Any:
    """A copy of a Python value as the JSON values above, integral floats made ints.

    Takes what any decoder produced (JSON, YAML, a client library); raises ArgumentsRefused with the path of
    what is no such value: other types, keys that are not strings, non-finite or unsafe numbers, surrogates.
    """
    return _normal(value, (), max_depth)


def canonical(value: Any) -> bytes:
    """The JCS (RFC 8785) encoding, UTF-8. Raises ArgumentsRefused where JCS defines none."""
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise ArgumentsRefused("", f"has no canonical form: {error}") from None
    except RecursionError:
        raise ArgumentsRefused("", "is nested too deeply") from None


def _check_nesting(text: str, max_depth: int) -> None:
    # Before the decoder runs: a recursive decoder given 100,000 brackets fails by exhausting the stack.
    depth = 0
    for token in _NESTING.finditer(text):
        first = text[token.start()]
        if first in "[{":
            depth += 1
            if depth > max_depth:
                raise ArgumentsRefused("", f"nested more than {max_depth} levels deep")
        elif first in "]}":
            depth -= 1


def _unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        # Removing each key once leaves those that stand there again; comparing all pairs would take minutes.
        twice = next(key for key, _ in pairs if found.pop(key, found) is found)
        raise ArgumentsRefused("", f"the key {_shown(twice)} stands twice in one object")
    return found


def _parse_int(digits: str) -> int:
    # 17 characters hold every safe integer; int() of a million digits would burn CPU for nothing.
    if len(digits) > 17:
        raise ArgumentsRefused("", "an integer is beyond ±(2^53−1)")
    return int(digits)


def _parse_float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ArgumentsRefused("", "a number is too large to be represented")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ArgumentsRefused("", f"{name} is not JSON")


def _normal(value: Any, path: tuple[str | int, ...], room: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _normal_text(value, path)
    if isinstance(value, int | float):
        return _normal_number(value, path)
    if room <= 0 and isinstance(value, dict | list | tuple):
        raise ArgumentsRefused(pointer(path), "is nested too deeply")
    if isinstance(value, dict):
        return {_normal_key(key, path): _normal(item, (*path, key), room - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_normal(item, (*path, index), room - 1) for index, item in enumerate(value)]
    raise ArgumentsRefused(pointer(path), f"{type(value).__name__} is not a JSON type")


def _normal_text(text: str, path: tuple[str | int, ...]) -> str:
    if not text.isascii() and _SURROGATE.search(text):
        raise ArgumentsRefused(_safe(pointer(path)), "holds a lone surrogate")
    return str(text)


def _normal_key(key: Any, path: tuple[str | int, ...]) -> str:
    if not isinstance(key, str):
        raise ArgumentsRefused(pointer(path), "has a key that is not a string")
    if _SURROGATE.search(key):
        raise ArgumentsRefused(_safe(pointer(path)), "has a key with a lone surrogate")
    return str(key)


def _normal_number(number: int | float, path: tuple[str | int, ...]) -> int | float:
    if isinstance(number, float):
        if not math.isfinite(number):
            raise ArgumentsRefused(pointer(path), "is not a finite number")
        if not number.is_integer():
            return float(number)
    if abs(number) > MAX_SAFE_INTEGER:
        raise ArgumentsRefused(pointer(path), "is an integer beyond ±(2^53−1)")
    return int(number)


def _shown(text: str) -> str:
    clipped = text if len(text) <= 60 else text[:60] + "…"
    return json.dumps(_safe(clipped), ensure_ascii=False)


def _safe(text: str) -> str:
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


def leaves(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every value that holds no others, with the keys and places that lead to it; `path` leads to `value`."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path, value
