"""Make what a job prints safe to store and to show, while it prints."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

# Besides C0, C1 and surrogates: bidirectional, invisible and tag characters, and line separators, which can
# make a reviewer read something else than what is there. Joiners (U+200C, U+200D) belong to real scripts.
_UNSAFE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    r"\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def escape(text: str) -> str:
    """``text`` with control and format characters, but newline and tab, written as Python escapes."""
    return _UNSAFE.sub(_escaped, text)


def one_line(raw: bytes) -> str:
    """Bytes that a job chose for a name, as text on one line, whatever they are."""
    return escape(raw.decode("utf-8", "backslashreplace")).replace("\n", "\\n").replace("\t", "\\t")


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


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
