"""Make what a job prints safe to store and to show, while it prints."""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Callable

# Bidirectional and invisible format characters can make a reviewer read something else than what is there.
_FORMAT = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_PLAIN = {"\n", "\t", "\u00ad", "\u200c", "\u200d"}


def escape(text: str) -> str:
    """``text`` with every control and format character but newline and tab written as a \\\\x or \\\\u escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape_char(char) for char in text)


def _escape_char(char: str) -> str:
    if char in _PLAIN or char.isprintable() or unicodedata.category(char) not in _FORMAT:
        return char
    return char.encode("ascii", "backslashreplace").decode("ascii") if ord(char) > 127 else f"\\x{ord(char):02x}"


class Stream:
    """One output stream of a job: counts everything, keeps ``cap`` bytes, escapes as it goes.

    ``emit`` receives each escaped chunk that is kept, at once.
    """

    def __init__(self, *, cap: int, emit: Callable[[str], None]) -> None:
        self._cap = cap
        self._emit = emit
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._chunks: list[str] = []
        self.total = 0

    @property
    def truncated(self) -> bool:
        return self.total > self._cap

    @property
    def text(self) -> str:
        return "".join(self._chunks)

    def feed(self, data: bytes) -> None:
        room = max(0, self._cap - self.total)
        self.total += len(data)
        self._keep(data[:room], final=False)

    def finish(self) -> None:
        self._keep(b"", final=True)

    def _keep(self, data: bytes, *, final: bool) -> None:
        chunk = escape(self._decoder.decode(data, final))
        if chunk:
            self._chunks.append(chunk)
            self._emit(chunk)
