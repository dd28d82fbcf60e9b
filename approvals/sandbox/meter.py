"""How a tier measures a running job, and what it finds."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol

from approvals.sandbox.job import Limits


@dataclass(frozen=True)
class Reading:
    """One look at the whole process tree: CPU seconds so far, peak bytes so far, and limits that were hit."""

    cpu_seconds: float
    peak_bytes: int
    over_memory: bool
    over_pids: bool
    pids_refused: bool


@dataclass(frozen=True)
class Folders:
    """Descriptors of the job's /proc and of its writable tmpfs folders. Owns them."""

    proc: int
    writable: tuple[int, ...]

    def used(self) -> tuple[int, int, bool]:
        """Bytes in all folders, the most inodes in one, and whether one has no space left."""
        facts = [os.fstatvfs(folder) for folder in self.writable]
        taken = sum((fact.f_blocks - fact.f_bfree) * fact.f_frsize for fact in facts)
        # The root of each tmpfs is an inode that the job did not make.
        inodes = max(fact.f_files - fact.f_ffree - 1 for fact in facts)
        return taken, inodes, any(fact.f_bfree == 0 or fact.f_ffree == 0 for fact in facts)

    def close(self) -> None:
        for folder in (self.proc, *self.writable):
            os.close(folder)


class Meter(Protocol):
    """Measures one job. Before its program starts ``admit`` is called with its host process id.

    ``approach`` may be called, more than once, while that is near; ``bound`` before the start, too, where the
    limits of the job were not known from the beginning.
    """

    tier: str

    @property
    def interval(self) -> float:
        """Seconds until the next reading is due."""

    def approach(self) -> None: ...

    def admit(self, pid: int) -> None: ...

    def bound(self, limits: Limits) -> None: ...

    def rlimits(self) -> dict[str, tuple[int, int]]:
        """Soft and hard resource limits that this tier adds to the common ones."""

    def sample(self, folders: Folders) -> Reading: ...

    def close(self) -> None: ...
