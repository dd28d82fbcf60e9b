"""Values of PostgreSQL as JSON: numbers, texts and flags where JSON has them, else PostgreSQL's own text.

Nothing is rounded: a number that JSON readers could round (numeric, bigint beyond ±(2^53−1), NaN) is a text.
bytea is PostgreSQL's hex form, times are ISO 8601, arrays are lists.
"""

from __future__ import annotations

import json
import math
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.types.json import Jsonb
from psycopg.types.numeric import Int4, Int8

from policies import values
from traces.problems import Refused

AS_THEY_ARE = frozenset({"bool", "int2", "int4", "oid"})
SETTINGS = (
    "SET client_encoding = 'UTF8'; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'iso_8601'; "
    "SET timezone = 'UTC'; SET bytea_output = 'hex'; SET standard_conforming_strings = on"
)
DEEPEST = 16
UNKNOWN, INT4 = 0, (1 << 31) - 1


class _Text(Loader):
    """As the server writes it. A database without an encoding may hold bytes that are no text."""

    def load(self, data: Buffer) -> Any:
        return bytes(data).decode("utf-8", "backslashreplace")


class _Whole(_Text):
    def load(self, data: Buffer) -> Any:
        number = int(bytes(data))
        return number if abs(number) <= values.MAX_SAFE_INTEGER else super().load(data)


class _Float(_Text):
    def load(self, data: Buffer) -> Any:
        number = float(bytes(data))
        return number if math.isfinite(number) else super().load(data)


class _Json(_Text):
    """The value where every reader reads it alike, else its text."""

    def load(self, data: Buffer) -> Any:
        try:
            return values.parse_json(bytes(data), max_bytes=values.MAX_BYTES, max_depth=DEEPEST)
        except Refused:
            return super().load(data)


_OWN: dict[str, type[Loader]] = {
    "int8": _Whole, "float4": _Float, "float8": _Float, "json": _Json, "jsonb": _Json,
}  # fmt: skip


def prepare(connection: psycopg.Connection[Any]) -> None:
    """Make this connection answer in such values. Raises psycopg.Error."""
    connection.execute(SETTINGS)
    connection.adapters.register_loader(UNKNOWN, _Text)
    for info in psycopg.adapters.types:
        if info.name not in AS_THEY_ARE:
            connection.adapters.register_loader(info.oid, _OWN.get(info.name, _Text))


def parameters(given: tuple[Any, ...]) -> list[Any] | None:
    """JSON values as the driver binds them: an integer as one, a list as an array, an object as jsonb; None
    where there is no value at all.
    """
    return [_bound(value) for value in given] or None


def _bound(value: Any) -> Any:
    if isinstance(value, dict) or (
        isinstance(value, list) and any(isinstance(i, dict | list) for i in value)
    ):
        return Jsonb(value)
    if isinstance(value, list):
        large = any(isinstance(item, int) and abs(item) > INT4 for item in value)
        return [_whole(item, large) for item in value]
    return _whole(value, isinstance(value, int) and abs(value) > INT4)


def _whole(value: Any, large: bool) -> Any:
    """The driver would take the smallest type that holds a number, and arrays of that fit no others."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    return Int8(value) if large else Int4(value)


def size(row: list[Any]) -> int:
    """How many bytes of JSON a row is. Raises ValueError for what JSON cannot say."""
    return len(json.dumps(row, allow_nan=False, ensure_ascii=False).encode("utf-8", "surrogatepass"))
