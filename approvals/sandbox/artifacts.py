"""Take a job's output files from the descriptors that the init hands out; trust none of them."""

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from dataclasses import dataclass, field

from approvals.sandbox.escape import one_line
from approvals.sandbox.job import Artifact, Limits

_PUNCTUATION = set(" ._-+=@#~,()[]&'!")
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
_MAX_PART_BYTES = 128
# As many as the database keeps of a name: two that were cut there could become one.
_MAX_NAME = 255
_MAX_REFUSED = 64


def refusal(name: bytes) -> str | None:
    """Why ``name`` (relative, as the job chose it) may not become an artifact's name, or None.

    Names are downloaded and shown elsewhere, so they must be harmless on any system, not only on this one.
    """
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        return "the name is not UTF-8"
    if unicodedata.normalize("NFC", text) != text:
        return "the name is not in Unicode normal form C"
    if len(text) > _MAX_NAME:
        return "the name is too long"
    return next((why for part in text.split("/") if (why := _part_refusal(part))), None)


def _part_refusal(part: str) -> str | None:
    if not part or not (part[0].isalnum() or part[0] == "_"):
        return "the name does not begin with a letter or digit"
    if len(part.encode("utf-8")) > _MAX_PART_BYTES:
        return "the name is too long"
    if not all(_fits(char) for char in part):
        return "the name holds a character that is not a letter, digit or plain punctuation"
    if part[-1] in " ." or part.split(".")[0].rstrip().lower() in _RESERVED:
        return "the name is reserved on other systems"
    return None


def _fits(char: str) -> bool:
    return char.isalnum() or char in _PUNCTUATION or unicodedata.category(char) in ("Mn", "Mc")


@dataclass
class Collection:
    """What was taken and what was refused so far, within ``limits``."""

    limits: Limits
    taken: list[Artifact] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    unlisted: int = 0
    _bytes: int = 0

    def offer(self, *, name: bytes, descriptor: int) -> None:
        """Read the file behind ``descriptor`` into an artifact, or note why not. Never closes it."""
        why = refusal(name) or self._unfit(os.fstat(descriptor))
        if why:
            self.refuse(name=name, why=why)
            return
        content = _read(descriptor, limit=self.limits.artifact_bytes - self._bytes)
        if content is None:
            self.refuse(name=name, why="the file changed while it was read")
            return
        self._bytes += len(content)
        self.taken.append(Artifact(name.decode("utf-8"), hashlib.sha256(content).hexdigest(), content))

    def refuse(self, *, name: bytes, why: str) -> None:
        if len(self.refused) >= _MAX_REFUSED:
            self.unlisted += 1
            return
        self.refused.append((one_line(name[:512]), why))

    def summary(self) -> tuple[tuple[str, str], ...]:
        """The refusals, ending in one line for those beyond the list's bound."""
        if not self.unlisted:
            return tuple(self.refused)
        return (*self.refused, ("…", f"{self.unlisted} more refused"))

    def _unfit(self, facts: os.stat_result) -> str | None:
        if not stat.S_ISREG(facts.st_mode):
            return "not a regular file"
        if facts.st_nlink != 1:
            return "the file has several names"
        if len(self.taken) >= self.limits.artifacts:
            return f"more than {self.limits.artifacts} artifacts"
        if facts.st_size > self.limits.artifact_bytes - self._bytes:
            return f"more than {self.limits.artifact_bytes} bytes of artifacts"
        return None


def _read(descriptor: int, *, limit: int) -> bytes | None:
    chunks: list[bytes] = []
    size = 0
    while chunk := os.pread(descriptor, 1 << 20, size):
        size += len(chunk)
        if size > limit:
            return None
        chunks.append(chunk)
    return b"".join(chunks)
